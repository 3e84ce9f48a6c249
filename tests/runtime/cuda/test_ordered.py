"""What a call leaves behind it: inputs lent until the GPU has read them, memory that streams share, stale graphs."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.errors import OutOfMemory
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.runtime.cuda import arrays, dlpack
from tenfold.runtime.cuda.arrays import DeviceArray
from tests.runtime.cuda.emulated import FakeDriver
from tests.runtime.cuda.pretended import Current
from tests.runtime.cuda.test_state import Bench
from tests.runtime.test_state import kept, table

SHAPE = (4, 8)


@pytest.fixture
def told(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the driver is given, in order."""
    found: list[str] = []
    replay = driver.replay
    monkeypatch.setattr(driver, "replay", lambda graph, stream: (found.append("launched"), replay(graph, stream))[1])
    monkeypatch.setattr(driver, "follow", lambda stream, other: found.append(f"{int(stream)} follows {int(other)}"))
    monkeypatch.setattr(driver, "synchronize_all", lambda: found.append("all waited for"))
    reached = driver.reached
    monkeypatch.setattr(driver, "reached", lambda mark: (found.append("reached"), reached(mark))[1])
    return found


def built(*operators: Any) -> tenfold.Engine:
    """A result of one operator each, of all inputs that it takes."""
    graph = Graph(name="ordered")
    x, z = (graph.input(name, Type(dt.f32, SHAPE)) for name in "xz")
    graph.set_outputs([one(x, z) for one in operators], [f"y{number}" for number in range(len(operators))])
    return tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)


class Memory:
    """An array that tells when it is let go."""

    def __init__(self, told: list[str]) -> None:
        self.array = np.ones(SHAPE, np.float32)
        weakref.finalize(self, told.append, "let go")


class Alone:
    """It speaks DLPack alone, and lends its memory."""

    def __init__(self, told: list[str]) -> None:
        self.memory = Memory(told)

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA_DEVICE, 0

    def __dlpack__(self, *, stream: object = None) -> Any:
        return dlpack.capsule(self.memory, self.memory.array.ctypes.data, SHAPE, dt.f32)


def test_a_lent_input_is_kept_until_the_gpu_has_read_it(driver: FakeDriver, current: Current, told: list[str]) -> None:
    with built(ops.Add()).context() as context:
        for number in range(5):
            told.clear()
            context.call([Alone(told), np.zeros(SHAPE, np.float32)])
            assert [one for one in told if one in ("reached", "let go")] == ["reached", "let go"] * (number > 1)
        told.clear()
    assert told.count("let go") == 2


def test_a_copy_of_an_input_lives_until_the_first_input_s_stream_has_read_it(
    driver: FakeDriver, current: Current, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = arrays._of_torch

    def watched(*given: Any) -> DeviceArray:
        found = taken(*given)
        weakref.finalize(found.owner, told.append, "copy let go")
        return found

    monkeypatch.setattr(arrays, "_of_torch", watched)
    engine, mine = built(ops.Add()), np.ones(SHAPE, np.float32)
    with engine.context() as context:
        first = DeviceArray(engine.inputs[0], mine.ctypes.data, SHAPE, 40, mine)
        context.call([first, torch.randn(*reversed(SHAPE)).t()])
        assert told.index(f"{current.number} follows 40") < told.index("copy let go")


def test_memory_of_a_result_stays_with_its_stream(driver: FakeDriver, current: Current, told: list[str]) -> None:
    given = [torch.ones(SHAPE), torch.ones(SHAPE)]
    with built(ops.Add()).context() as context:
        current.number = 21
        first = context.call(given)
        place = first[0].data_ptr()
        current.number = 22
        context.call(given)
        told.clear()
        del first
        assert context.call(given)[0].data_ptr() != place or "all waited for" in told


def test_repeated_calls_see_a_state_that_was_seeded_or_reset(driver: FakeDriver, current: Current) -> None:
    engine = kept(table("plain"), Bench())
    given = [torch.tensor([[3]]), torch.ones(1, 4)]
    with engine.context() as context:
        for _ in range(3):
            context.call(given)
        (name,) = context.state
        context.seed({name: np.full((16, 4), 7, np.float32)})
        assert context.call(given)[0][0, 0].item() == 14
        context.reset()
        context.call(given)
        assert np.count_nonzero(context.state[name]) == 4


def test_graphs_end_with_the_memory_that_they_use(
    driver: FakeDriver, current: Current, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph(name="grows")
    value = graph.input("x", Type(dt.f32, (symbol("n"), 16)))
    for before, after in ((16, 64), (64, 64), (64, 8)):
        weight = ops.Constant(Tensor(np.full((before, after), 0.1, np.float32)))()
        value = ops.MatMul()(ops.Softmax(1)(value), weight)
    graph.set_outputs([value], ["y"])

    def refused(size: int, stream: Any) -> int:
        raise OutOfMemory("no", remedy="none")

    with tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0).context() as context:
        small = torch.randn(16, 16)
        for _ in range(3):
            wanted = context.call([small])[0]
        with monkeypatch.context() as patch:
            patch.setattr(driver, "allocate", refused)
            with pytest.raises(OutOfMemory):
                context.call([torch.randn(512, 16)])
        assert not context._repeats._all
        torch.testing.assert_close(context.call([small])[0], wanted)


def test_negative_views_and_inference_mode(driver: FakeDriver, current: Current) -> None:
    negative = torch.full(SHAPE, 1 + 2j).conj().imag
    with built(ops.Add()).context() as context:
        torch.testing.assert_close(context.call([negative, torch.ones(SHAPE)])[0], negative + 1)
        twice = torch.ones(SHAPE)
        with torch.inference_mode():
            for _ in range(3):
                context.call([twice, twice])
        assert not context.call([twice, twice])[0].is_inference()


def test_no_thread_looks_for_garbage_while_another_captures() -> None:
    driver = pytest.importorskip("tenfold.runtime.cuda.driver")
    inside, done = threading.Event(), threading.Event()

    def first() -> None:
        with driver._uncollected():
            inside.set()
            done.wait(10)

    assert gc.isenabled()
    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    with driver._uncollected():
        done.set()
        thread.join(10)
        assert not gc.isenabled()
    assert gc.isenabled()
