"""Blocks that start early ask for shared memory, so that three of them do not lie on one multiprocessor."""

from __future__ import annotations

import torch

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime.cuda.apart import Apart
from tenfold.runtime.cuda.resident import Function
from tests.runtime.cuda.emulated import FakeDriver
from tests.runtime.cuda.pretended import Current


def test_about_one_block_a_multiprocessor_asks_for_a_third() -> None:
    h200 = Apart(132, 228 << 10)
    assert [h200.room(blocks) for blocks in (1, 32, 33, 132, 133)] == [0, 0, 76 << 10, 76 << 10, 0]
    assert 3 * (h200.most + 1024) > h200.shared  # with what the driver adds


def test_what_a_function_needs_stands() -> None:
    apart = Apart(132, 228 << 10)
    assert Function(None, 128, 100 << 10, 1, True, (), apart=apart).room(64) == 100 << 10
    assert Function(None, 128, 16 << 10, 1, True, (), apart=apart).room(64) == 76 << 10
    assert Function(None, 128, 16 << 10, 2, True, ()).room(64) == 16 << 10


def test_launches_and_what_graphs_are_told_ask_alike(driver: FakeDriver, current: Current) -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (4, 8)))
    graph.set_outputs([ops.Add()(x, x)], ["y"])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    kept = [torch.randn(4, 8) for _ in range(4)]
    with engine.context() as context:
        for given in kept:
            torch.testing.assert_close(context.call([given])[0], 2 * given)
    assert driver.changes
    assert set(driver.rooms) == {(1, driver.apart.most)} and len(driver.rooms) > 1
