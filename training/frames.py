"""Paragraphs of everyday English put together from sentence frames. Owns the frames and how they are filled."""

from __future__ import annotations

import random
import re

from training.words import SUBJECTS

_LEADS = """
{A} {n} {be} the heart of any {adj} {m}.
Looking after a {n} is easier than most people think.
The {n} and the {m} have changed a lot in the last {num} years.
This {season} the {place} opened its new {n} to the public.
{p} has spent {num} years learning everything about the {n}.
Choosing the right {n} makes a big difference to the {m}.
The {adj} {n} in our {place} needs a new {m}.
A good {n} starts with a {adj} {m}.
Yesterday the {n} was closed because of a {adj} {m}.
Every {season}, thousands of visitors come to {city} to see the {n}.
{p} and {q} met on {day} to discuss the {n} and the {m}.
We are planning a {adj} {n} for {day}.
Dear {p}, thank you for sending the {n} last {day}.
If your {n} is {adj}, check the {m} first.
The price of {n} has risen by {num} percent since {month}.
I bought this {n} in {month} and I have used it every day since.
More and more people in {city} are giving up their {n} for a {m}.
The {n} is one of the oldest in {city}.
Our {n} {verbs} the {m} in less than {num} minutes.
There are {num} good reasons to own a {n}.
Researchers in {city} have found a {adj} link between {n} and {m}.
The {n} is a {adj} {m} that lives in {place}s and {place2}s.
My {kin} and I spent the {season} with a {n} in {city}.
In {city}, a {n} has been turned into a {m} for the whole {place}.
From {month}, every {n} in {city} will need a {m}.
The new {n} arrived on {day}, but the {m} was missing.
On {day} our {kin} showed us how to {verb} the {n}.
A {n} without a {m} is like a {place} without a {o}.
Please {verb} the {n} before {day}, because the {m} is {adj}.
Every {n} needs a {m} now and then.
People in {city} are waiting for a new {n}.
{p} wants to {verb} the {n}, but the {m} is too {adj}.
To {verb} a {n} you only need a {m} and some {o}.
If you want to {verb} your {n}, start with the {m}.
"""

_OPENERS = """
Hello everyone.
Good news, {p}.
Thank you all for coming.
I hope you had a pleasant {season}.
I hope this finds you well.
It was a {adj} {season}.
It has been a {adj} {day}.
It is {adj} again.
Here is a {adj} update.
Here are a few notes from {day}.
This is only a reminder.
This happens more often than you think.
They are {adj}, {adj2} and very {adj}.
He is {adj} and she is {adj2}.
You can do it in {num} minutes.
You do not need much for this.
Do not worry.
Do not throw it away.
There is nothing to be afraid of.
That was close.
What should you do?
Have you ever wondered why?
Not everybody likes it.
So it has happened again.
"""

_BODIES = """
{p} said that the {n} would be ready by {day}.
The {n} is {adj}, but the {m} is even more {adj2}.
Put the {n} next to the {m} and wait {num} minutes.
It takes about {num} hours to {verb} the {n} with a {m}.
We {verbed} the {n} and then {verbed2} the {m}.
Most of the {n} comes from {city}.
Do not forget to {verb} the {m} before you {verb2} the {n}.
She {verbed} her {n} to {q}, who lives near {city}.
They {verbed} the old {n} and found a {adj} {m} under it.
He told us about the {n}, the {m} and the {o}.
Without a {adj} {n}, the {m} will not last until {season}.
You can {verb} a {n}, a {m} or even an old {o}.
The {m} costs {num} euros, which is more than the {n}.
My {kin} always {verbs} the {n} after dinner.
{adv}, the {m} {verbs} the {n} and saves a lot of time.
There was no {n} left when we arrived in {city}.
In {month}, the {n} will move to a {adj} {m}.
Nobody knows why the {n} {verbs} the {m}.
The {n} must not touch the {m}.
Many {n}s are {verbed} by hand, and each {m} is different.
According to {p}, the {adj} {m} was the main problem.
Some people prefer a {adj} {o} because it is cheaper.
After {num} days the {n} turns {adj}.
Ask your {kin} for help if the {m} is too {adj}.
{q} will {verb} the {n} and send a note to everyone.
The {o} is free for children and costs {num} euros for adults.
It rained all day, so the {n} stayed in the {m}.
That is why a {n} needs {adj} {m} and plenty of {o}.
I would buy the {n} again, although the {m} feels a little {adj}.
Next {season} we want to {verb} the {m} too.
When the {n} is {adj}, {verb} it slowly and add the {o}.
Between {month} and {month2} the {n} is at its best.
The {place} has {num} {n}s and only one {m}.
For {num} weeks, {p} {verbed} nothing but {o}.
Keep the {m} dry, {verb} the {o} often and {verb2} the {n} in {season}.
Both the {n} and the {m} are {verbed} every {day}.
His {n} won a prize for the most {adj} {m}.
Anyone who wants a {o} should write to {q} before {day}.
"Our {n} is {adj}," {p} explained.
Why does a {n} need a {m}?
It is {adj} and {adj2}, and it {verbs} everything.
They {verbed} it twice, but it did not help.
This makes the {n} {adj} and the {m} {adj2}.
You should {verb} it at least once a week.
The {n} and its {m} were {verbed} {num} years ago by {p}.
Half of the {m} was already gone.
In the end the {n} was {adj}, and nobody missed the {m}.
If the {m} is {adj}, the {n} lasts longer.
As soon as the {n} is {adj}, we will tell you.
Our {kin} put the {m} under the {n} and went home.
The best {n} has a {adj} {m} and no {o} at all.
Two {n}s are enough for one {m}.
With a {n} like this, even a {adj} {m} looks {adj2}.
Later {p} brought a {o} and a {m} for the {n}.
A {adj} {n} does not {verb} itself, as my {kin} likes to say.
The {n} helps against {adj} {m}s.
On the way to the {place} we lost the {o}.
I never liked the {m}, to be honest.
Bring a {o}, because the {place} can be {adj}.
"""

_FILL = {
    "adj": """warm cold fresh old cheap quiet heavy light clean dark soft narrow famous healthy strong broken busy
        safe dry wet sweet early late modern local gentle steady bright empty generous careful ready lovely windy
        small grey loud""",
    "verb": """wash check repair move paint plant cook pack sell store cover measure clean cut borrow replace share
        carry visit open close save find buy watch""",
    "verbed": "washed checked repaired moved painted sold stored covered measured cleaned borrowed replaced shared",
    "verbs": "covers protects repairs moves needs carries changes replaces feeds improves warms reaches",
    "p": """Anna Peter Maria John Sofia David Emma Lucas Nora Tom Aisha Omar Julia Mark Elena Hugo Grace Daniel Mei
        Ravi Clara Ben Laura Sam""",
    "city": """London Paris Berlin Lisbon Madrid Rome Oslo Vienna Dublin Prague Boston Chicago Toronto Sydney Cairo
        Delhi Tokyo Lima""",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April May June July August September October November December",
    "season": "spring summer autumn winter morning weekend",
    "place": "town village garden valley house office school forest hospital market",
    "kin": "mother father sister brother grandmother neighbour friend uncle aunt daughter son colleague",
    "adv": "Usually Sometimes Luckily However Surprisingly Often Later Today Finally Sadly",
    "num": "two three four five six ten 12 15 20 25 30 40 50 90 100 250",
    "be": "is was remains",
}
_POOLS = {name: words.split() for name, words in _FILL.items()}
_ALIASES = {"q": "p", "adj2": "adj", "verb2": "verb", "verbed2": "verbed", "month2": "month", "place2": "place"}
LEADS = _LEADS.strip().split("\n")
OPENERS = _OPENERS.strip().split("\n")
BODIES = _BODIES.strip().split("\n")


def _slot(name: str, nouns: list[str], rng: random.Random) -> str:
    """The words for one slot; nouns early in the list are the paragraph's subjects and come up more often."""
    if name == "A":
        return rng.choice(["The", "A", "This", "Our"])
    if name in ("n", "m", "o"):
        subject_like = {"n": 0.75, "m": 0.35, "o": 0.0}[name]
        return nouns[rng.randrange(2)] if rng.random() < subject_like else rng.choice(nouns[2:])
    return rng.choice(_POOLS[_ALIASES.get(name, name)])


def _fill(frame: str, nouns: list[str], rng: random.Random) -> str:
    sentence = re.sub(r"\{(\w+)\}", lambda match: _slot(match[1], nouns, rng), frame)
    sentence = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", sentence)
    return sentence[0].upper() + sentence[1:]


def opener(rng: random.Random) -> str:
    """A sentence that texts begin with before they come to the point."""
    return _fill(rng.choice(OPENERS), [], rng)


def everyday_sentences(rng: random.Random) -> list[str]:
    """One paragraph on one subject: a lead sentence and a few more, as a list of sentences."""
    pool = list(SUBJECTS[rng.choice(list(SUBJECTS))])
    rng.shuffle(pool)
    nouns = pool[: rng.randint(6, 12)]
    frames = [rng.choice(LEADS), *rng.sample(BODIES, rng.randint(2, 9))]
    return [_fill(frame, nouns, rng) for frame in frames]


def closed_class_words() -> frozenset[str]:
    """The frames' own adjectives, verbs, names and dates, which are never tags."""
    names = [name for name in _POOLS if name not in ("place", "kin")]
    return frozenset(word.lower() for name in names for word in _POOLS[name])
