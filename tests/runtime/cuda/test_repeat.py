"""Calls that repeat, on the CPU's tensors: results' memory is used again when the caller's last tensor is gone,
whatever differs from the call before is seen, bound tensors are the results.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.errors import InputError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime.plan import Spec
from tests.runtime.cuda.emulated import FakeDriver
from tests.runtime.cuda.pretended import STREAM, Current

from tenfold.runtime.cuda import repeat  # isort: skip
from tenfold.runtime.cuda.arrays import DeviceArray  # isort: skip


class Memory:
    """Of one result; counts how many there are."""

    alive = 0

    def __init__(self) -> None:
        self.array = np.zeros((2, 3), np.float32)
        Memory.alive += 1

    def __del__(self) -> None:
        Memory.alive -= 1


@pytest.fixture
def ran(current: Current) -> list[int]:
    return []


def made(x: torch.Tensor, ran: list[int]) -> repeat.Repeat:
    def fresh(places: Any, sizes: Any) -> Any:
        memory, number = Memory(), Memory.alive
        result = DeviceArray(Spec("y", dt.f32, (2, 3)), memory.array.ctypes.data, (2, 3), STREAM, memory)
        done: Any = SimpleNamespace(places=places, run=lambda *_: ran.append(number), close=lambda _: None)
        done.replayer = lambda _: lambda: ran.append(number)
        done.aim = lambda places, _: setattr(done, "places", places)
        return done, [result]

    driver: Any = SimpleNamespace(enter=lambda: None)
    return repeat.Repeat(driver, [x], STREAM, STREAM, fresh)


def run(again: repeat.Repeat, x: torch.Tensor) -> Any:
    return again.run([x], [x.data_ptr()])


def test_memory_is_used_again_when_nothing_refers_to_it(ran: list[int]) -> None:
    x = torch.zeros(4)
    again = made(x, ran)
    for _ in range(3):
        assert run(again, x) is not None
    assert ran == [1, 1, 1]
    (first,) = run(again, x) or ()
    (second,) = run(again, x) or ()
    assert first.data_ptr() != second.data_ptr() and ran[-2:] == [1, 2]
    part = first.view(-1)[2:4].numpy()
    del first
    run(again, x)
    assert ran[-1] == 3
    del part
    run(again, x)
    assert ran[-1] == 1
    again.close()
    assert Memory.alive == 1
    del second
    assert Memory.alive == 0


def test_no_more_memory_is_kept_than_so_much(ran: list[int], current: Current) -> None:
    x = torch.zeros(4)
    again = made(x, ran)
    held = [run(again, x) for _ in range(repeat.MOST)]
    assert all(held) and run(again, x) is None
    held.clear()
    assert run(again, x) is not None
    current.number += 1
    assert run(again, x) is None
    again.close()
    assert Memory.alive == 0


def flipped(x: torch.Tensor) -> torch.Tensor:
    return x.t()


OTHERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "of another shape": lambda x: x.view(16),
    "not row-major": flipped,
    "of another element type": lambda x: x.view(torch.int32),
    "a parameter": torch.nn.Parameter,
    "shorter": lambda x: x[:2],
    "an array of NumPy": lambda x: x.numpy(),
    "nothing": lambda x: None,
    "on another device": lambda x: x.to("meta"),
}


@pytest.mark.parametrize("guards", [True, False])
@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("other", OTHERS)
def test_other_calls_are_left_alone(
    other: str, guards: bool, twice: bool, ran: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert repeat._guards(torch) is not None
    if not guards:
        monkeypatch.setattr(repeat, "_guards", lambda torch: None)
    x, y = torch.zeros(4, 4), torch.zeros(3)
    given = [x, x, y] if twice else [x, y]
    kinds = repeat.Repeats(SimpleNamespace(enter=lambda: None), lambda: None)  # type: ignore[arg-type]
    assert kinds.run(given, STREAM) is None
    driver: Any = SimpleNamespace(enter=lambda: None)

    def nothing(*_: object) -> None:
        pass

    def done(places: Any, sizes: Any) -> Any:
        launches = SimpleNamespace(places=places, aim=nothing, run=nothing, close=nothing, replayer=lambda _: nothing)
        return launches, []

    for _ in range(2):
        kinds.add(given, {}, lambda: repeat.Repeat(driver, given, STREAM, STREAM, done))
        assert len(kinds._all) == 1
        assert kinds.run(given, STREAM) == [] and kinds.run(given, STREAM + 1) is None
    for place in range(len(given) - 1):
        assert kinds.run([*given[:place], OTHERS[other](x), *given[place + 1 :]], STREAM) is None
    assert kinds.run(given[1:], STREAM) is None and kinds.run((), STREAM) is None
    assert kinds.run([*given[:-1], y.view(3)], STREAM) == []
    assert kinds.run([one.clone() for one in given], STREAM) == []
    x.t_()[0, 0] = 1
    assert kinds.run(given, STREAM) is None
    kinds.clear()
    assert kinds.run(given, STREAM) is None


# whole calls


@pytest.fixture
def engine(driver: FakeDriver, current: Current) -> tenfold.Engine:
    graph = Graph(name="repeated")
    x, y = (graph.input(name, Type(dt.f32, (symbol("n", 1), 8))) for name in "xy")
    graph.set_outputs([ops.Add()(x, y), ops.Relu()(x), ops.Mul()(x, y)], ["sum", "positive", "product"])
    return tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)


def right(found: Any, x: torch.Tensor, y: torch.Tensor) -> None:
    """Three results, whose kind is the inputs'."""
    for one, wanted in zip(found, (x + y, x.clamp(min=0), x * y), strict=True):
        torch.testing.assert_close(one, wanted)


def looks(context: Any) -> list[int]:
    """Grows with each call that is not a repetition."""
    found: list[int] = []
    prepare = context._prepare

    def looked(*given: Any) -> Any:
        found.append(1)
        return prepare(*given)

    context._prepare = looked
    return found


def test_what_changes_between_calls_is_seen(engine: tenfold.Engine, current: Current) -> None:
    x, y = torch.randn(4, 8), torch.randn(4, 8)
    with engine.context() as context:
        looked = looks(context)
        for _ in range(6):
            x.copy_(torch.randn(4, 8))
            right(context.call([x, y]), x, y)
        right(context.run({"y": y, "x": x}).values(), x, y)
        right(context.call((x, y)), x, y)
        assert len(looked) == 1
        right(context.call([y, y]), y, y)
        right(context.call([y, y]), y, y)
        assert len(looked) == 2
        right(context.call([y, x]), y, x)
        assert len(looked) == 2
        right(context.call([x[:2], y[:2]]), x[:2], y[:2])
        x.resize_(2, 8)
        with pytest.raises(InputError):
            context.call([x, y])
        right(context.call([x, y[:2]]), x, y[:2])
        x.set_(torch.randn(8, 2).t())
        right(context.call([x, y[:2]]), x, y[:2])
        x.data = torch.randn(2, 8)
        right(context.call([x, y[:2]]), x, y[:2])
        x.data = torch.randn(2, 8, dtype=torch.float64)
        with pytest.raises(InputError, match="float64"):
            context.call([x, y[:2]])
        x.data = torch.randn(2, 8)
        for mode in (torch.no_grad, torch.inference_mode, torch.no_grad):
            with mode():
                right(context.call([x, y[:2]]), x, y[:2])
        for number in (1, 0, 2):
            looked.clear()
            current.number = STREAM + number
            for _ in range(3):
                right(context.call([x, y[:2]]), x, y[:2])
            assert len(looked) == 1


def test_calls_on_ever_new_tensors_do_not_wait(
    engine: tenfold.Engine, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[Any] = []
    with engine.context() as context:
        given = [[torch.randn(4, 8), torch.randn(4, 8)] for _ in range(repeat.KINDS + 3)]
        context.call(given[0])
        monkeypatch.setattr(driver, "synchronize", waits.append)
        for one in given[1:]:
            right(context.call(one), *one)
        assert not waits
        for rows in range(1, repeat.KINDS):
            for one in given[:3]:
                some = [x[:rows] for x in one]
                right(context.call(some), *some)
        assert not waits
        wide = [torch.randn(5, 8), torch.randn(5, 8)]
        right(context.call(wide), *wide)
        assert len(waits) == 1


def test_bound_tensors_are_the_results(engine: tenfold.Engine, driver: FakeDriver) -> None:
    x, y = torch.randn(4, 8), torch.randn(4, 8)
    sums, products = torch.zeros(4, 8), torch.zeros(50)
    with engine.context() as context:
        free = context.call([x, y])
        context.bind(outputs={"sum": sums, "product": products})
        looked = looks(context)
        for _ in range(4):
            x.copy_(torch.randn(4, 8))
            found = context.call([x, y])
            right(found, x, y)
            assert found[0] is sums and found[2].data_ptr() == products.data_ptr()
        assert found[2] is context.call([x, y])[2] and found[1] is not context.call([x, y])[1]
        assert free[0].data_ptr() != sums.data_ptr() and len(looked) == 1
        context.bind(inputs={"y": y}, outputs={"positive": torch.zeros(4, 8)})
        for _ in range(3):
            found = context.call([x])
            right(found, x, y)
        assert [*map(id, found)] == [*map(id, context.call({"x": x}))] and len(looked) == 2
        right(context.submit({"x": x}).result().values(), x, y)
        sums.resize_(1000)
        found = context.call([x])
        right(found, x, y)
        assert found[0] is not sums and found[0].data_ptr() == sums.data_ptr()
        sums.resize_(2, 2)
        with pytest.raises(InputError, match="bind a larger array"):
            context.call([x])
        context.unbind()
        right(context.call([x, y]), x, y)


def test_bound_arrays_of_the_host_are_written_too(engine: tenfold.Engine) -> None:
    x, y, mine = torch.randn(4, 8), torch.randn(4, 8), np.zeros((4, 8), np.float32)
    theirs = torch.zeros(4, 8)
    with engine.context() as context:
        context.bind(outputs={"sum": mine, "product": theirs})
        for _ in range(3):
            found = context.call([x, y])
            np.testing.assert_array_equal(mine, (x + y).numpy())
            assert np.shares_memory(np.asarray(found[0]), mine) and found[2] is theirs
        given = {"x": x.numpy(), "y": y.numpy()}
        for found in (context.run(given), context.submit(given).result()):
            np.testing.assert_array_equal(found["sum"], mine)
            np.testing.assert_array_equal(found["positive"], np.maximum(x.numpy(), 0))
            assert found["product"] is theirs and torch.equal(theirs, x * y)


def test_what_cannot_be_written_in_place_is_not_bound(engine: tenfold.Engine) -> None:
    with engine.context() as context:
        for wrong in (torch.zeros(8, 4).t(), torch.zeros(33)[1:], torch.zeros(4, 8, dtype=torch.float16)):
            with pytest.raises(InputError):
                context.bind(outputs={"sum": wrong})
        with pytest.raises(InputError):
            context.bind(inputs={"x": torch.zeros(4, 8, dtype=torch.float16)})
