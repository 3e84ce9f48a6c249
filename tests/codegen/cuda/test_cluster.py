"""Tiles whose slices are the blocks of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic
from tests.codegen.cuda.interpreting import TARGET

from tenfold.codegen.cuda.arch import arch_of  # isort: skip
from tenfold.codegen.cuda.conv import boxes, cluster  # isort: skip
from tests.codegen.cuda import compiling, table  # isort: skip


def clustered(region: Region) -> Sequence[Tactic]:
    found = boxes.STRATEGY.tactics(region, TARGET)
    assert not isinstance(found, Refusal)
    return [one for one in found if "cluster" in dict(one.parameters)]


@pytest.mark.parametrize(
    "region",
    [
        compiling.product(1024, 768, 3072),
        compiling.product(64, 4096, 4096),
        table.image(256, (14, 14), 256, 3, 1, 1, count=4, beside=True),
    ],
)
def test_blocks_of_a_cluster_share_the_columns(region: Region) -> None:
    found = clustered(region)
    assert found
    for one in found:
        (launch,) = boxes.STRATEGY.build(region, one, TARGET).launches
        assert not isinstance(launch.program, str)
        given = dict(launch.program.parameters)
        slices = int(one["slices"])
        assert given["CLUSTER"] == given["SLICES"] == slices and given["END"] == given["box"]
        assert isinstance(launch.grid, int) and launch.grid % slices == 0
        (output, *_) = given["output"]
        parts = given["PARTS"]
        assert isinstance(parts, tuple) and f", {parts[0] // slices}]" in output.type
        assert cluster.room_of(int(one["m"]), int(one["n"]), slices) <= arch_of(TARGET).static


def test_none_where_whole_tiles_keep_the_machine_busy() -> None:
    assert not clustered(compiling.product(4096, 4096, 4096))
    assert not clustered(compiling.product(64, 64, 128))
    fours = [{int(one["slices"]) for one in clustered(compiling.product(256, n, 1024))} for n in (448, 512)]
    assert 4 in fours[0] and 4 not in fours[1]


def test_rounds_do_not_overlap() -> None:
    """What arrives in a round lies behind what arrived in those before, and before the barriers."""
    for m, parts, slices in ((64, (128, 64), 2), (64, (64,), 4), (128, (128,), 2)):
        ranges = []
        for turn in range(slices.bit_length() - 1):
            for part, width in enumerate(parts):
                begin = cluster._start(m, parts, turn, part)
                ranges.append((begin, begin + (m * width * 4 >> (turn + 1))))
            ranges.append((begin := cluster._barrier(m, parts, slices, turn), begin + 16))
        ranges.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(ranges))
        assert ranges[-1][1] <= cluster.room_of(m, sum(parts), slices)
