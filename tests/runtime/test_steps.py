"""The step table's checks."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.errors import EngineError
from tenfold.runtime import steps

GOOD = [
    steps.call(0, 0, 2, parts=3),
    steps.jump(2),
    steps.jump_if(0, 0, False),
    steps.loop(0, 1, 0),
    steps.move(0, 1),
    steps.add(0, 1),
    steps.swap(0, 1),
    steps.load(0, 1, 4),
    steps.copy(0, 1, 2),
    steps.store(0, 1),
    steps.end(),
]


def verify(rows: list[steps.Row], argmap: tuple[int, ...] = (0, 3), binds: list[list[int]] | None = None) -> None:
    array = None if binds is None else np.array(binds, np.int64)
    steps.verify(steps.table(rows), np.array(argmap, np.int32), 4, 100, array, 2)


def test_a_good_table_passes() -> None:
    verify(GOOD, binds=[[3, 1, 0]])


@pytest.mark.parametrize(
    "row",
    [
        steps.call(100, 0, 1),
        steps.call(-1, 0, 1),
        steps.call(0, 1, 2),
        steps.call(0, -1, 1),
        steps.call(0, 0, -1),
        steps.call(0, 0, 1, parts=4),
        steps.call(0, 0, 1, parts=-2),
        steps.jump(2),
        steps.jump(-1),
        steps.jump_if(0, 9),
        steps.loop(0, 4, 0),
        steps.loop(0, 0, 2),
        steps.move(4, 0),
        steps.add(0, -1),
        steps.swap(9, 0),
        steps.load(0, 0, 2),
        steps.load(0, 4, 4),
        steps.copy(0, 0, 4),
        steps.store(0, 4),
        (77,),
    ],
)
def test_what_lies_out_of_bounds_is_refused(row: steps.Row) -> None:
    with pytest.raises(EngineError, match="step 0"):
        verify([row, steps.end()])


def test_a_table_must_end() -> None:
    with pytest.raises(EngineError, match="last step"):
        verify([steps.move(0, 0)])
    with pytest.raises(EngineError, match="rows of 8"):
        verify([])


@pytest.mark.parametrize("argmap", [(0, 4), (-1, 0)])
def test_arguments_lie_in_the_frame(argmap: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match="argument"):
        verify(GOOD, argmap)


@pytest.mark.parametrize("bind", [[4, 0, 0], [0, 2, 0], [0, 0, 4], [-1, 0, 0]])
def test_binds_name_what_exists(bind: list[int]) -> None:
    with pytest.raises(EngineError, match="bind"):
        verify(GOOD, binds=[bind])
