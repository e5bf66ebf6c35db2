"""Jinja's sandbox with a bound on work: a template may neither loop for long nor make much of little.

Jinja's own sandbox keeps templates from Python, not from the processor. Here
each rendering has a budget. Every round of a loop and every call of a macro
takes what its body holds, and whatever Python does with a value in one go takes
the value's size *beforehand*, since such a step can't be stopped: operators,
calls, filters, comparisons, text that comes out. One unit is about a character
copied; a step of the interpreter counts as ten.

Each template's syntax tree gets charges where the sandbox isn't asked (rounds of loops, macros, comparisons, slices,
keys); the environment charges the rest. Rendering isn't moved to a process of its own, because it belongs to each
request, and isn't bounded by a timer, which C doesn't hear. 70 templates of current models, in five conversations
each, came out as from transformers, to the byte, with at most a fifth of the budget used; a rendering takes about
twice its time, some tens of microseconds (2026-11-26).
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from functools import wraps
from itertools import islice
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace
from markupsafe import Markup

LONGEST_TEMPLATE = 128 * 1024
"""Characters. The longest that models come with have about 30,000."""

_STEP = 10
_MOST_BITS = 512
_MOST_POWER = 64
# The names hold a blank, so no template can write them.
_ROUND, _WEIGHED, _SLICED = " round", " weighed", " sliced"
_AT_A_GLANCE = {"length", "count", "default", "d", "first", "last", "safe"}
"""Filters that don't look at more than a beginning, whatever they are given."""
_UNUSED = {"lipsum", "striptags", "urlize", "pprint", "wordwrap"}
"""Known to take more than their input's size, and of no use for a prompt."""
_ATOMS = {int, float, bool, type(None)}
_PLAIN = (list, tuple, set, frozenset, range, KeysView, ValuesView, ItemsView)
_SPEC = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?")


class TooMuchWork(jinja2.TemplateError):
    """The template would take more than it may."""

    def __init__(self) -> None:
        super().__init__("it takes far more work than a conversation needs")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Set `left` before each rendering: the units that it may take."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, finalize=self._weighed)
        self.left = 0
        for name in _UNUSED:
            self.filters.pop(name, None)
            self.globals.pop(name, None)
        for name in self.filters.keys() - _AT_A_GLANCE:
            self.filters[name] = self.charged(self.filters[name])
        for name, test in self.tests.items():
            if getattr(test, "__module__", "") in ("_operator", "operator") or name == "in":
                self.tests[name] = self.charged(test)
        self.filters["format"] = lambda text, *args, **named: self._formatted(str(text), named or args)
        self.filters[_ROUND] = jinja2.pass_context(lambda _, units: self._round(units))
        self.filters[_WEIGHED], self.filters[_SLICED] = self._weighed, self._sliced

    def made(self, text: str, units: int) -> jinja2.Template:
        """The template; making it may take so much, too. Raises TemplateError, or whatever Python says to its code."""
        self.left = units
        if len(text) > LONGEST_TEMPLATE:
            raise jinja2.TemplateError(f"it has {len(text)} characters, and {LONGEST_TEMPLATE} are read at most")
        tree = self.parse(text)
        _bind(tree)
        tree.set_environment(self)
        return jinja2.Template.from_code(self, self.compile(tree), self.make_globals(None))

    def charge(self, units: int) -> None:
        """Raises TooMuchWork where there aren't so many left."""
        self.left -= units
        if self.left < 0:
            _refuse()

    def _round(self, units: int) -> bool:
        self.charge(max(units, 1))
        return True

    # Where Jinja lets us in

    def call_binop(self, context: Context, sign: str, left: Any, right: Any) -> Any:
        """One of + - * / // % **."""
        if type(left) is str and type(right) is str and sign == "+":
            self.charge(len(left) + len(right))
            return left + right
        if isinstance(left, int | float) and isinstance(right, int | float):
            return self._calculated(sign, left, right)
        if sign == "%" and isinstance(left, str | bytes):
            return self._formatted(left, right)
        times = sign == "*"
        self.charge(self._extent(left) * self._extent(right) if times else self._weight(left) + self._weight(right))
        return super().call_binop(context, sign, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **named: Any) -> Any:  # noqa: N805
        """A function, a method or a macro. Named like Jinja's own, so that a template's names don't collide."""
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        # Jinja's own additions don't reach the function.
        given = {name: value for name, value in named.items() if name not in ("_loop_vars", "_block_vars")}
        args = __self._charge_call(owner, args, given)
        result = super().call(__context, __obj, *args, **named)
        __self.charge(__self._weight(result))
        return result

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """As Jinja's, with the widths of the fields counted."""
        if (sandboxed := super().wrap_str_format(value)) is None:
            return None
        text = value.__self__
        if isinstance(text, Markup):
            _refuse()
        made, is_map = _Formatter(self), value.__name__ == "format_map"

        @wraps(sandboxed)
        def formatted(*args: Any, **named: Any) -> str:
            return str(made.vformat(text, (), args[0]) if is_map else made.vformat(text, args, named))

        return formatted

    # What things take

    def charged(self, function: Any) -> Callable[..., Any]:
        """A filter or a test that takes its units before it works."""
        skipped = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

        @wraps(function)
        def working(*args: Any, **named: Any) -> Any:
            owner, *others = self._charge_call(None, args[skipped : skipped + 1], {}) or (None,)
            others = list(self._charge_call(owner, args[skipped + 1 :], named))
            result = function(*args[:skipped], owner, *others, **named)
            self.charge(self._weight(result))
            return result

        return working

    def _charge_call(self, owner: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Nothing that Python or Jinja offers makes more than this: each of its characters by all that it is given."""
        args = tuple(self._solid(arg) for arg in args)
        given = sum(self._extent(arg) for arg in args) + sum(self._extent(each) for each in named.values())
        self.charge((self._weight(owner) + 1) * (given + 1))
        return args

    def _solid(self, value: Any) -> Any:
        """What comes piece by piece has no size yet."""
        if not isinstance(value, Iterator) or isinstance(value, LoopContext):
            return value
        pieces = list(islice(value, self.left // _STEP + 1))
        self.charge(len(pieces) * _STEP)
        return pieces

    def _formatted(self, form: str | bytes, values: Any) -> Any:
        text = form if isinstance(form, str) else form.decode("latin-1")
        for sizes in _SPEC.findall(text):
            if "*" in sizes:
                _refuse()
            self.charge(sum(int(size) for size in sizes if size))
        self.charge((len(text) + 1) * (self._weight(values) + 1))
        return form % values

    def _calculated(self, sign: str, left: float, right: float) -> Any:
        if sign == "**" and abs(right) > _MOST_POWER:
            _refuse()
        result = self.binop_table[sign](left, right)
        if isinstance(result, int) and result.bit_length() > _MOST_BITS:
            _refuse()
        return result

    def _weighed(self, value: Any) -> Any:
        self.charge(self._weight(value))
        return value

    def _sliced(self, value: Any) -> Any:
        self.charge(len(value) if isinstance(value, str | bytes | list | tuple) else 1)
        return value

    def _extent(self, value: Any) -> int:
        """How much more a call can make because of this: a number may be a width."""
        return abs(int(value)) if type(value) in (int, bool) else self._weight(value)

    def _weight(self, value: Any) -> int:
        """How much there is to look at: characters, and steps. Raises TooMuchWork rather than look at too much."""
        if type(value) is str:
            return len(value)
        return _STEP if type(value) in _ATOMS else self._weight_of_many(value)

    def _weight_of_many(self, value: Any) -> int:
        weight, rest = 0, [value]
        while rest:
            each = rest.pop()
            weight += len(each) if isinstance(each, str | bytes) else _STEP
            if isinstance(each, Mapping):
                rest += each.keys()
                rest += each.values()
            elif isinstance(each, range):
                weight += _STEP * len(each)
            elif isinstance(each, _PLAIN):
                rest += each
            elif isinstance(each, Namespace):
                rest += object.__getattribute__(each, "_Namespace__attrs").values()
            if weight + _STEP * len(rest) > self.left:
                _refuse()
        return weight


class _Formatter(SandboxedFormatter):
    _env: BoundedEnvironment

    def format_field(self, value: Any, format_spec: str) -> Any:
        self._env.charge(sum(int(width) for width in re.findall(r"\d+", format_spec)) + self._env._weight(value))
        return super().format_field(value, format_spec)


def _refuse() -> NoReturn:
    raise TooMuchWork


def _bind(tree: nodes.Template) -> None:
    """Put the charges into a template for what the environment isn't asked about."""
    repeated: list[Any] = list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)))
    for node in repeated:
        units = _static_units(node.body)
        node.body.insert(0, nodes.ExprStmt(_round(units, node.lineno), lineno=node.lineno))
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(_round(_STEP, node.lineno), node.test, lineno=node.lineno)
    for compare in list(tree.find_all(nodes.Compare)):
        _bind_comparison(compare)
    for joined in list(tree.find_all(nodes.Concat)):
        joined.nodes = [_through(_WEIGHED, each) for each in joined.nodes]
    for item in list(tree.find_all(nodes.Getitem)):
        if isinstance(item.arg, nodes.Slice):
            item.node = _through(_SLICED, item.node)
        else:
            # A tuple's hash isn't kept, so one that holds another twice takes twice as long.
            item.arg = _through(_WEIGHED, item.arg)
    for pair in list(tree.find_all(nodes.Pair)):
        pair.key = _through(_WEIGHED, pair.key)


def _static_units(body: list[nodes.Node]) -> int:
    inner = [node for each in body for node in (each, *each.find_all(nodes.Node))]
    texts = [node.data for node in inner if isinstance(node, nodes.TemplateData)]
    return _STEP * (len(inner) + 1) + sum(map(len, texts))


def _bind_comparison(compare: nodes.Compare) -> None:
    """A comparison with a constant is over as soon as that is; all others look at what they compare."""
    looks_in = any(each.op in ("in", "notin") for each in compare.ops)
    constant = isinstance(compare.expr, nodes.Const) or any(isinstance(each.expr, nodes.Const) for each in compare.ops)
    if constant and not looks_in:
        return
    compare.expr = _through(_WEIGHED, compare.expr)
    for each in compare.ops:
        each.expr = _through(_WEIGHED, each.expr)


def _round(units: int, line: int) -> nodes.Filter:
    return _filter(_ROUND, nodes.Const(units, lineno=line), line)


def _through(name: str, value: nodes.Expr) -> nodes.Expr:
    if isinstance(value, nodes.Const | nodes.TemplateData):
        return value
    return _filter(name, value, value.lineno)


def _filter(name: str, value: nodes.Expr, line: int) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=line)
