from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu import suppress
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ops.sort import Suppression
from tenfold.target import Target
from tests.codegen.cpu import jit
from tests.codegen.cpu.anchored import Case, Given, tactics, undefined_symbols
from tests.codegen.cpu.emulated import emulated

IMAGES, CLASSES, BOXES = (symbol(name) for name in "ncb")
LAYOUTS = ("dense", "reversed", "spaced")


def case(
    shape: tuple[int, int, int], most: int, overlap: float, threshold: float, centred: bool = False,
    dtype: dt.DType = dt.f32, layout: str = "dense", digits: int = 6,
) -> Case:  # fmt: skip
    """Boxes and scores whose every size only the call tells; few digits make equal scores."""
    images, classes, boxes = shape
    rng = np.random.default_rng(shape)
    corners = rng.random((images, boxes, 4)).astype(dtype.numpy)
    scores = rng.random((images, classes, boxes)).round(digits).astype(dtype.numpy)
    limits = (np.array(most), np.array(overlap, dtype.numpy), np.array(threshold, dtype.numpy))
    given = [
        Given(corners, layout, shape=(IMAGES, BOXES, 4)),
        Given(scores, layout, shape=(IMAGES, CLASSES, BOXES)),
        *map(Given, limits),
    ]
    room = symbol("room")
    bindings = {"n": images, "c": classes, "b": boxes, "room": min(max(most, 0), boxes)}
    return Case(Suppression(room, centred), given, (layout, "dense"), bindings)


def check_chosen(one: Case) -> int:
    """On every ISA here the rows of the definition, with any number of threads; how many."""
    op = one.op
    assert isinstance(op, Suppression)
    expected, count = Suppression(one.bindings["room"], op.centred).results(tuple(given.array for given in one.inputs))
    for isa in jit.runnable():
        target = Target("cpu", isa.level)
        (tactic,) = tactics(suppress.STRATEGY, one, isa)
        kernel = suppress.STRATEGY.build(one.region, tactic, target)
        for threads, backwards, low in ((2, False, False), (1, True, True), (5, True, False)):
            rows, found = one.run(kernel, isa, threads, backwards=backwards, low=low)
            assert found == count
            assert np.array_equal(rows[:found], expected[:count])
    return int(count)


@pytest.mark.parametrize("centred", [False, True], ids=["corners", "centres"])
@pytest.mark.parametrize("dtype", [dt.f32, dt.f64], ids=str)
def test_choices(dtype: dt.DType, centred: bool) -> None:
    for most, overlap, threshold in ((10, 0.4, 0.3), (1000, 0.1, -np.inf), (0, 0.4, 0.1), (2, 0.9, 0.9), (5, 0.4, 2.0)):
        for digits in (1, 6):
            assert check_chosen(case((2, 3, 70), most, overlap, threshold, centred, dtype, digits=digits)) or not (
                most and threshold < 1
            )


@pytest.mark.parametrize("boxes", [0, 1, 7, 15, 16, 17, 33, 100, 1000])
def test_counts(boxes: int) -> None:
    check_chosen(case((1, 1, boxes), 1000, 0.5, 0.1))
    check_chosen(case((3, 2, boxes), 4, 0.3, 0.5))


def test_nothing_to_choose_from() -> None:
    for shape in ((0, 2, 5), (2, 0, 5)):
        assert check_chosen(case(shape, 3, 0.5, 0.1)) == 0
    assert check_chosen(case((1, 2, 9), -4, 0.5, 0.1)) == 0


def test_every_box_far_from_every_other() -> None:
    """The boxes taken fill many vectors."""
    assert check_chosen(case((1, 1, 300), 300, 1.0, -1.0)) == 300


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views(layout: str) -> None:
    check_chosen(case((2, 3, 40), 9, 0.3, 0.2, layout=layout))


def test_edges_and_scores_that_are_no_numbers() -> None:
    one = case((1, 2, 40), 40, 0.3, 0.05)
    boxes, scores = one.inputs[0].array, one.inputs[1].array
    scores[0, 0, 3], scores[0, 0, 4], scores[0, 1, 5], scores[0, 1, 6] = np.nan, np.inf, -np.inf, -0.0
    boxes[0, 7], boxes[0, 8, 2], boxes[0, 9, 0] = 0, np.inf, -np.inf
    check_chosen(one)


def test_needs_nothing_from_elsewhere() -> None:
    for dtype in (dt.f32, dt.f64):
        assert undefined_symbols(suppress.STRATEGY, case((1, 2, 9), 3, 0.5, 0.1, dtype=dtype)) == {}


@pytest.mark.parametrize("dtype", [dt.f32, dt.f64], ids=str)
def test_on_another_machine(dtype: dt.DType, tmp_path: Path) -> None:
    one = case((2, 3, 70), 9, 0.3, 0.2, dtype=dtype)
    expected, count = Suppression(9, False).results(tuple(given.array for given in one.inputs))
    for rows, found in emulated(suppress.STRATEGY, one, tmp_path):
        assert found == count
        assert np.array_equal(rows[:found], expected[:count])
