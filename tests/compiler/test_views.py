"""Views of buffers: strides as formulas against NumPy's, at fifty random sizes each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.compiler import views
from tenfold.compiler.views import Shape, View
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.substitute import evaluate
from tenfold.ir.type import Type

SYMBOLS: dict[str, Size] = {"n": symbol("n"), "h": symbol("h", 1), "w": symbol("w", 1, 9), "c": symbol("c", 2, 12, 2)}
sizes = st.sampled_from((1, 2, 3, 4, 6, *SYMBOLS.values()))
FIFTY = settings(max_examples=40, derandomize=True, deadline=None)


def bindings(count: int = 50) -> list[dict[str, int]]:
    """Numbers for the symbols within their bounds."""
    draw = random.Random(0)
    rows = ({"n": draw.randint(0, 7), "h": draw.randint(1, 7), "w": draw.randint(1, 9)} for _ in range(count))
    return [row | {"c": 2 * draw.randint(1, 6)} for row in rows]


def numbers(shape: Sequence[Size], known: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(size, known) for size in shape)


def whole(*shape: Size) -> View:
    """A dense buffer."""
    return View(Value(Type(dt.i32, shape)), views.row_major(shape))


def seen(view: View, shape: Shape, known: Mapping[str, int]) -> Array:
    """What a view shows of a buffer that counts its elements."""
    buffer = np.arange(int(np.prod(numbers(view.root.type.shape, known))), dtype=np.int32)
    extents, strides = numbers(shape, known), numbers(view.strides, known)
    if 0 in extents:
        return np.zeros(extents, np.int32)
    start = evaluate(view.offset, known)
    reach = [
        start + sum((n - 1) * s for n, s in zip(extents, strides, strict=True) if s * sign > 0) for sign in (1, -1)
    ]
    assert all(0 <= place < buffer.size for place in reach), "the view leaves its buffer"
    found: Array = np.lib.stride_tricks.as_strided(buffer[start:], extents, tuple(4 * stride for stride in strides))
    return found


def counted(shape: Sequence[Size], known: Mapping[str, int]) -> Array:
    extents = numbers(shape, known)
    return np.arange(int(np.prod(extents)), dtype=np.int32).reshape(extents)


@given(st.lists(sizes, max_size=4), st.randoms(use_true_random=False))
@FIFTY
def test_a_transpose_is_numpys(shape: list[Size], draw: random.Random) -> None:
    permutation = draw.sample(range(len(shape)), len(shape))
    view = views.transpose(whole(*shape), permutation)
    moved = tuple(shape[axis] for axis in permutation)
    for known in bindings():
        np.testing.assert_array_equal(seen(view, moved, known), counted(shape, known).transpose(permutation))


@given(st.lists(sizes, min_size=1, max_size=4), st.randoms(use_true_random=False))
@FIFTY
def test_strides_follow_the_storage_order(shape: list[Size], draw: random.Random) -> None:
    order = draw.sample(range(len(shape)), len(shape))
    view = View(Value(Type(dt.i32, tuple(shape))), views.strides_of(tuple(shape), order))
    stored = tuple(shape[axis] for axis in order)
    for known in bindings():
        expected = counted(stored, known).transpose(np.argsort(order))
        np.testing.assert_array_equal(seen(view, tuple(shape), known), expected)


@given(st.lists(st.tuples(sizes, st.integers(0, 2), st.sampled_from((1, 2, 3, -1, -2))), min_size=1, max_size=3))
@FIFTY
def test_a_slice_is_numpys(rows: list[tuple[Size, int, int]]) -> None:
    shape = tuple(size + start + 1 for size, start, _ in rows)
    starts: list[Size] = []
    counts: list[Size] = []
    for whole_size, (_, start, step) in zip(shape, rows, strict=True):
        starts.append(start if step > 0 else whole_size - 1 - start)
        counts.append(dim.ceildiv(whole_size - start, abs(step)))
    view = views.slice_(whole(*shape), tuple(starts), tuple(step for *_, step in rows))
    for known in bindings():
        begins = (start if step > 0 else -1 - start for _, start, step in rows)
        index = tuple(slice(at, None, step) for at, (*_, step) in zip(begins, rows, strict=True))
        np.testing.assert_array_equal(seen(view, tuple(counts), known), counted(shape, known)[index])


@given(st.lists(st.tuples(sizes, st.booleans()), max_size=3), st.lists(sizes, max_size=2))
@FIFTY
def test_an_expansion_is_numpys(rows: list[tuple[Size, bool]], front: list[Size]) -> None:
    old = tuple(1 if repeated else size for size, repeated in rows)
    new = (*front, *(size for size, _ in rows))
    view = views.expand(whole(*old), old, new)
    for known in bindings():
        expected = np.broadcast_to(counted(old, known), numbers(new, known))
        np.testing.assert_array_equal(seen(view, new, known), expected)


def test_an_axis_that_may_be_1_repeats_where_it_is() -> None:
    n, m = SYMBOLS["n"], SYMBOLS["h"]
    old, new = (m, 3), (dim.broadcast(n, m), 3)
    view = views.expand(whole(*old), old, new)
    for known in ({"n": 5, "h": 1}, {"n": 1, "h": 4}, {"n": 4, "h": 4}, {"n": 1, "h": 1}):
        expected = np.broadcast_to(counted(old, known), numbers(new, known))
        np.testing.assert_array_equal(seen(view, new, known), expected)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=2),
    st.sampled_from(("n", "h")),
)
@FIFTY
def test_windows_are_numpys(rows: list[tuple[int, int, int]], batch: str) -> None:
    kernel, strides, dilations = zip(*rows, strict=True)
    reach = [(k - 1) * d + 1 for k, _, d in rows]
    space = tuple(SYMBOLS["w"] + extent - 1 for extent in reach)
    counts = tuple((size - extent) // step + 1 for size, extent, step in zip(space, reach, strides, strict=True))
    shape = (SYMBOLS[batch], 2, *space)
    view = views.windows(whole(*shape), strides, dilations)
    for known in bindings():
        x = counted(shape, known)
        windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
        at = tuple(slice(None, None, step) for step in strides)
        within = tuple(slice(None, None, step) for step in dilations)
        expected = windows[(slice(None), slice(None), *at, *within)]
        np.testing.assert_array_equal(seen(view, (*shape[:2], *counts, *kernel), known), expected)


@st.composite
def regrouped(draw: st.DrawFn) -> tuple[Shape, Shape]:
    """Two shapes of as many elements: groups of factors multiplied up in different places, with ones strewn in."""
    factors = draw(st.lists(sizes, min_size=1, max_size=5))

    def shape() -> Shape:
        found: list[Size] = [1]
        for factor in factors:
            if draw(st.booleans()):
                found.append(factor)
            else:
                found[-1] = found[-1] * factor
            if draw(st.integers(0, 4)) == 0:
                found.append(1)
        return tuple(found)

    return shape(), shape()


@given(regrouped())
@FIFTY
def test_dense_data_take_any_shape(shapes: tuple[Shape, Shape]) -> None:
    old, new = shapes
    view = views.reshape(whole(*old), old, new)
    assert view is not None
    for known in bindings():
        np.testing.assert_array_equal(seen(view, new, known), counted(old, known).reshape(numbers(new, known)))


@given(regrouped(), st.randoms(use_true_random=False))
@FIFTY
def test_a_reshape_of_moved_data_is_numpys_or_takes_a_copy(shapes: tuple[Shape, Shape], draw: random.Random) -> None:
    """The buffer holds the axes in another order, inside a greater one, and backwards."""
    old, new = shapes
    order = draw.sample(range(len(old)), len(old))
    inverse = np.argsort(order).tolist()
    stored = tuple(old[axis] + (axis == 0) for axis in order)
    view = views.transpose(whole(*stored), inverse)
    steps = tuple(draw.choice((1, 1, -1)) for _ in old)
    starts: list[Size] = [size - 1 if step < 0 else 0 for size, step in zip(old, steps, strict=True)]
    view = views.slice_(view, tuple(starts), steps)
    found = views.reshape(view, old, new)
    if found is None:
        return
    for known in bindings():
        x = counted(stored, known).transpose(inverse)[tuple(slice(0, size) for size in numbers(old, known))]
        x = x[tuple(slice(None, None, step) for step in steps)]
        np.testing.assert_array_equal(seen(found, new, known), x.reshape(numbers(new, known)))


@pytest.mark.parametrize(("old", "new"), [((2, 3), (6,)), ((2, 3, 4), (2, 12)), ((2, 3, 4), (4, 3, 2))])
def test_turned_axes_do_not_merge(old: Shape, new: Shape) -> None:
    turned = tuple(reversed(range(len(old))))
    view = views.transpose(whole(*(old[axis] for axis in turned)), turned)
    assert views.reshape(view, old, new) is None


def test_splitting_an_axis_of_strided_data_is_a_view() -> None:
    n = SYMBOLS["n"]
    view = views.transpose(whole(n, 6), (1, 0))
    found = views.reshape(view, (6, n), (2, 3, n))
    assert found is not None and found.strides == (3, 1, 6)
    assert views.reshape(view, (6, n), (6 * n,)) is None
    ones = views.reshape(view, (6, n), (1, 6, 1, n, 1))
    assert ones is not None and [ones.strides[axis] for axis in (1, 3)] == [1, 6]


def test_sizes_that_are_not_provably_equal_reshape_only_dense_data() -> None:
    n, w = SYMBOLS["n"], SYMBOLS["w"]
    assert views.reshape(whole(n, w), (n, w), (w, n)) is not None
    turned = views.transpose(whole(w, n), (1, 0))
    assert views.reshape(turned, (n, w), (w, n)) is None


def test_every_permutation_of_channels_last_merges_height_and_width() -> None:
    n, h, w = SYMBOLS["n"], SYMBOLS["h"], SYMBOLS["w"]
    shape: Shape = (n, 8, h, w)
    for order in itertools.permutations(range(4)):
        view = View(Value(Type(dt.f32, shape)), views.strides_of(shape, order))
        merged = views.reshape(view, shape, (n, 8, h * w))
        together = order.index(3) == order.index(2) + 1
        assert (merged is not None) == together, order
