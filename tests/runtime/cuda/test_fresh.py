"""Calls on tensors that lie elsewhere each time, as those of a decoding loop: the graph is told, or they are copied."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.errors import DeviceError, InputError
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime.cuda.launches import Launches
from tests.runtime.cuda.emulated import FakeDriver
from tests.runtime.cuda.pretended import Current
from tests.runtime.cuda.test_repeat import looks

from tenfold.runtime.cuda import repeat  # isort: skip

SHAPE = 4, 8


@pytest.fixture
def engine(driver: FakeDriver, current: Current) -> tenfold.Engine:
    """Two kernels; the first input is read by both, the last by a window that begins behind its start."""
    graph = Graph(name="fresh")
    x, y, z = (graph.input(name, Type(dt.f32, SHAPE)) for name in "xyz")
    behind = ops.Slice((2, 0), (2, 8), (1, 1))(z)
    graph.set_outputs([ops.MatMul()(ops.Add()(x, y), ops.Transpose((1, 0))(x)), ops.Relu()(behind)], ["p", "q"])
    return tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)


def tensors() -> list[torch.Tensor]:
    return [torch.randn(SHAPE) for _ in range(3)]


def right(found: Any, given: list[torch.Tensor]) -> None:
    x, y, z = given
    torch.testing.assert_close(found[0], (x + y) @ x.t())
    torch.testing.assert_close(found[1], z[2:].clamp(min=0))


def captures(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each graph."""
    made: list[int] = []
    capture = driver.capture
    monkeypatch.setattr(driver, "capture", lambda *given: made.append(1) or capture(*given))
    return made


def test_a_graph_is_told_where_fresh_tensors_lie(
    engine: tenfold.Engine, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, kept = captures(driver, monkeypatch), [tensors() for _ in range(12)]
    with engine.context() as context:
        looked = looks(context)
        for given in kept:
            right(context.call(given), given)
        assert len(looked) == 1 and len(made) == 2
        launches = len(context._repeats._all[0]._sets[0].launches._launches)
        assert launches >= 2 and driver.changes == (len(kept) - 2) * launches
        before, one = driver.changes, [kept[-1][0], kept[-1][1], torch.randn(SHAPE)]
        right(context.call(one), one)
        assert driver.changes == before + 1 and len(looked) == 1


def test_results_that_are_held_are_not_written(engine: tenfold.Engine) -> None:
    with engine.context() as context:
        looked, kept = looks(context), [tensors() for _ in range(2 * repeat.MOST)]
        held = [context.call(given) for given in kept[: repeat.MOST + 1]]
        assert len(looked) == 1
        for given in kept:
            right(context.call(given), given)
        for found, given in zip(held, kept, strict=False):
            right(found, given)
        del held[3], found
        looked.clear()
        for given in kept:
            right(context.call(given), given)
        assert not looked


def test_places_that_come_again_have_graphs_of_their_own(engine: tenfold.Engine, driver: FakeDriver) -> None:
    turns = [tensors() for _ in range(repeat.KINDS)]
    with engine.context() as context:
        for _ in range(3):
            for given in turns:
                right(context.call(given), given)
        before = driver.changes
        for given in turns * 2:
            right(context.call(given), given)
        assert driver.changes == before
        for _ in range(6):
            other = tensors()
            right(context.call(other), other)
            right(context.call(turns[0]), turns[0])
        assert len(context._repeats._all) == 1 and len(context._repeats._all[0]._sets) <= repeat.MOST


def test_results_are_the_next_call_s_inputs(driver: FakeDriver, current: Current) -> None:
    graph = Graph(name="steps")
    x, y = (graph.input(name, Type(dt.f32, SHAPE)) for name in "xy")
    graph.set_outputs([ops.Add()(x, y), ops.Sub()(x, y)], ["sum", "rest"])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    state = wanted = [torch.randn(SHAPE).double().float() for _ in range(2)]
    with engine.context() as context:
        looked = looks(context)
        for _ in range(12):
            state = context.call(state)
            wanted = [wanted[0] + wanted[1], wanted[0] - wanted[1]]
            for one, other in zip(state, wanted, strict=True):
                torch.testing.assert_close(one, other)
        assert len(looked) == 1


def test_what_is_not_of_the_kind_is_looked_at(engine: tenfold.Engine, current: Current) -> None:
    with engine.context() as context:
        looked = looks(context)
        for _ in range(3):
            given = tensors()
            right(context.call(given), given)
        looked.clear()
        apart = torch.randn(33)[1:].view(SHAPE)
        for odd in (apart, torch.randn(8, 4).t(), torch.randn(8, 8)[::2], torch.nn.Parameter(torch.randn(SHAPE))):
            given = [odd, *tensors()[1:]]
            right(context.call(given), [one.detach() for one in given])
        assert len(looked) == 4
        for wrong in (torch.randn(SHAPE).double(), torch.randn(8, 4), torch.randn(4, 7), torch.zeros(SHAPE).int()):
            with pytest.raises(InputError):
                context.call([tensors()[0], wrong, tensors()[0]])
        for wrong in (tensors()[:2], [*tensors(), torch.zeros(SHAPE)]):
            with pytest.raises(InputError):
                context.call(wrong)
        looked.clear()
        given = tensors()
        right(context.call(given), given)
        assert not looked
        current.number += 1
        given = tensors()
        right(context.call(given), given)
        assert len(looked) == 1


@pytest.mark.parametrize("why", ["feeds_product", "one_by_one"])
def test_what_a_graph_cannot_be_told_is_copied(
    why: str, engine: tenfold.Engine, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "feeds_product":
        feeds = Launches.feeds_product
        monkeypatch.setattr(Launches, why, lambda self, cells: [*cells][:1] == [(0, 0)] or feeds(self, cells))
    else:
        monkeypatch.setattr(Launches, why, property(lambda self: False))
    with engine.context() as context:
        made, first, kept = captures(driver, monkeypatch), tensors(), list[Any]()
        for _ in range(3):
            right(context.call(first), first)
        made.clear()
        for number in range(6):
            given = [first[0], *tensors()[1:]] if number % 2 else tensors()
            kept.append(given)
            right(context.call(given), given)
            first[2].normal_()
            right(context.call(first), first)
        last = max((one.launches for one in context._repeats._all[0]._sets), key=lambda one: len(one._copied))
        assert len(made) <= 2 and len(last._copied) == (1 if why == "feeds_product" else 3)


def test_descriptors_of_tiles_follow(driver: FakeDriver, current: Current) -> None:
    graph = Graph(name="tiles")
    x, y = (graph.input(name, Type(dt.f16, (64, 64))) for name in "xy")
    graph.set_outputs([ops.MatMul()(x, y)], ["z"])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    with engine.context() as context:
        y, kept = torch.randn(64, 64).half(), list[Any]()
        for number in range(4):
            given = [torch.randn(64, 64).half(), y if number % 2 else torch.randn(64, 64).half()]
            kept.append(given)  # whose addresses would else come back
            wanted = given[0].float() @ given[1].float()
            torch.testing.assert_close(context.call(given)[0].float(), wanted, rtol=2e-2, atol=2e-2)
        told = [one.launches for one in context._repeats._all[0]._sets if one.launches._follow]
        assert any(one.tiles for aimed in told for one in aimed._follow.values()) and told[0]._launches._tiles


def test_tensors_are_let_go(engine: tenfold.Engine, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.context() as context:
        for _ in range(4):
            given = tensors()
            watched = [weakref.ref(one) for one in given]
            context.call(given)
            del given
            assert all(one() is None for one in watched)
    assert not driver.live


def test_a_graph_that_could_not_be_told_is_made_anew(
    engine: tenfold.Engine, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise DeviceError("refused", remedy="none")

    with engine.context() as context:
        kept = [tensors() for _ in range(3)]
        for one in kept:
            context.call(one)
        given = tensors()  # elsewhere than those that are kept
        with monkeypatch.context() as patch, pytest.raises(DeviceError):
            patch.setattr(driver, "change", refuse)
            context.call(given)
        right(context.call(given), given)
        right(context.call(given), given)
