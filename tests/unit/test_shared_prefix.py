"""Rows after one prompt: what each of them sees, and that the prompt isn't copied for them."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import KVCache

from mlx_sidecar.engine.shared_prefix import is_shared, rows_after

ROWS, LENGTH = 3, 2


def prompt(tokens: int, heads: int = 1, size: int = 2) -> Any:
    """A layer's cache of so many tokens, of which each has its number in it."""
    layer: Any = KVCache()
    numbers = mx.broadcast_to(mx.arange(tokens, dtype=mx.float32)[None, None, :, None], (1, heads, tokens, size))
    layer.update_and_fetch(numbers, numbers)
    return layer


@pytest.mark.parametrize(("window", "reach"), [(None, 99), (3, 3)])
def test_a_row_sees_the_prompt_and_its_own_tokens(window: int | None, reach: int) -> None:
    """In their order, as far back as a window reaches; never another row's."""
    (layer,) = rows_after([prompt(4)], ROWS)
    mask = np.array(layer.make_mask(LENGTH, return_array=True, window_size=window))
    own = mx.array([[[[100.0 * row + place] * 2 for place in range(LENGTH)]] for row in range(1, ROWS + 1)])
    keys, values = (np.array(each) for each in layer.update_and_fetch(own, own))
    assert layer.offset == 4 + LENGTH
    for row in range(ROWS):
        for place in range(LENGTH):
            whole = [0.0, 1.0, 2.0, 3.0, *(100.0 * (row + 1) + n for n in range(place + 1))]
            for found in (keys, values):
                assert found[row, 0, mask[row, 0, place], 0].tolist() == whole[-reach:]


def test_rows_take_the_memory_of_their_own_tokens() -> None:
    """A hundred of them don't take a hundred times that of the prompt."""
    layer = prompt(4096, heads=4, size=64)
    mx.eval(layer.state)
    held = layer.nbytes
    own = mx.zeros((100, 4, 2, 64))
    mx.eval(own)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    (rows,) = rows_after([layer], 100)
    mx.eval(rows.update_and_fetch(own, own))
    assert mx.get_peak_memory() - before < 3 * held
    assert is_shared([layer])
    assert not is_shared([layer, object()])
