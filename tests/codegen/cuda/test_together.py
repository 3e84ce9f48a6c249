"""Tiles whose slices wait for each other and end a share of the rows each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic
from tests.codegen.cuda.interpreting import TARGET

from tenfold.codegen.cuda.conv import boxes  # isort: skip
from tests.codegen.cuda import compiling, table  # isort: skip


def together(region: Region) -> Sequence[Tactic]:
    found = boxes.STRATEGY.tactics(region, TARGET)
    assert not isinstance(found, Refusal)
    return [one for one in found if "together" in dict(one.parameters)]


@pytest.mark.parametrize(
    ("region", "rows"),
    [
        (compiling.telling(768, 3072), 200),
        (table.image(512, (7, 7), 512, 3, 1, 1, count=1), 49),
        (table.image(256, (14, 14), 256, 3, 1, 1, count=1, beside=True), 196),
    ],
)
def test_shares_are_the_tile(region: Region, rows: int) -> None:
    found = together(region)
    assert found
    for one in found:
        kernel = boxes.STRATEGY.build(region, one, TARGET)
        (launch,) = kernel.launches
        assert not isinstance(launch.program, str)
        given = dict(launch.program.parameters)
        box, end = given["box"], given["END"]
        assert isinstance(box, tuple) and isinstance(end, tuple)
        assert math.prod(box) == int(one["m"]) == math.prod(end) * int(one["slices"])
        assert sum(a != b for a, b in zip(box, end, strict=True)) == 1 and given["AHEAD"] in (0, 1)
        assert isinstance(kernel.zeroed, int) and kernel.zeroed * int(one["slices"]) // 4 <= 132


def test_none_where_whole_tiles_keep_the_machine_busy() -> None:
    assert not together(compiling.product(4096, 4096, 4096))
    assert not together(compiling.product(64, 64, 128))
