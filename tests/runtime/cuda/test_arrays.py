"""Arrays of other libraries, by DLPack and `__cuda_array_interface__`, and their streams; the GPU is emulated."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import tenfold
from tenfold import ops
from tenfold.errors import InputError
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.type import Type
from tenfold.runtime.cuda import dlpack
from tenfold.runtime.cuda.arrays import DeviceArray, Recycled, on_device
from tenfold.runtime.plan import Spec
from tests.runtime.cuda.emulated import FakeDriver, emulate

SHAPE = (2, 8)


class Foreign:
    """An array that speaks DLPack alone, on GPU `number`."""

    def __init__(self, tensor: torch.Tensor, number: int = 0) -> None:
        self.tensor, self.number, self.asked = tensor, number, list[object]()

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA_DEVICE, self.number

    def __dlpack__(self, *, stream: object = None) -> Any:
        self.asked.append(stream)
        return self.tensor.__dlpack__()


class Silent(Foreign):
    """One whose `__cuda_array_interface__` knows not its elements, as JAX's of bfloat16."""

    @property
    def __cuda_array_interface__(self) -> Any:
        raise ValueError("not of bfloat16")


class Plain:
    """An array that speaks `__cuda_array_interface__` alone."""

    def __init__(self, array: np.ndarray, stream: int | None) -> None:
        self.__cuda_array_interface__ = {
            "shape": array.shape, "typestr": array.dtype.str, "data": (array.ctypes.data, False), "stream": stream,
        }  # fmt: skip


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    monkeypatch.setattr(dlpack, "CUDA_DEVICE", 1)
    return emulate(monkeypatch)


@pytest.fixture
def followed(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which stream was made to wait for which."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(driver, "follow", lambda stream, other: found.append((int(stream), int(other))))
    return found


def twice(dtype: dt.DType, inputs: int = 1) -> tenfold.Engine:
    graph = Graph()
    given = [graph.input(f"x{number}", Type(dtype, SHAPE)) for number in range(inputs)]
    graph.set_outputs([ops.Add()(given[0], given[-1])], ["y"])
    return tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)


def read(array: Any, dtype: Any) -> np.ndarray:
    assert isinstance(array, DeviceArray)
    size = array.nbytes
    return np.frombuffer((ctypes.c_ubyte * size).from_address(array.address), dtype).reshape(array.shape)


@pytest.mark.parametrize("kind", [Foreign, Silent])
@pytest.mark.parametrize("dtype", [dt.f32, dt.bf16, dt.i64])
def test_dlpack_comes_in_in_place(driver: FakeDriver, kind: type[Foreign], dtype: dt.DType) -> None:
    given = torch.arange(16, dtype=getattr(torch, dtype.numpy.name)).reshape(SHAPE)
    foreign = kind(given)
    with twice(dtype).context() as context:
        y = context.run([foreign])["y"]
        np.testing.assert_array_equal(read(y, dtype.numpy).astype(np.float32), 2 * given.float().numpy())
    assert set(foreign.asked) == {dlpack.LEGACY}


def test_what_dlpack_says_is_looked_at(driver: FakeDriver) -> None:
    spec, x = Spec("x", dt.f32, SHAPE), torch.zeros(SHAPE)
    for wrong, why in (
        (Foreign(x.double()), "x' is of DLPack's type 2 of 64 bits"),
        (Foreign(x.int()), "x' is of DLPack's type 0 of 32 bits"),
        (Foreign(torch.zeros(8, 2).t()), "not row-major"),
    ):
        with pytest.raises(InputError, match=why):
            on_device(spec, wrong)
    assert on_device(spec, Foreign(x[1:])).shape == (1, 8)  # type: ignore[union-attr]


def test_a_call_waits_for_the_streams_of_all_inputs(driver: FakeDriver, followed: Sequence[tuple[int, int]]) -> None:
    x = np.ones(SHAPE, np.float32)
    with twice(dt.f32, 3).context() as context:
        context.run([Plain(x, 11), Plain(x, 12), Plain(x, 13)])
        assert {(11, 12), (11, 13)} <= set(followed)


def test_memory_of_results_that_were_let_go_is_used_again(driver: FakeDriver) -> None:
    home, spec = Recycled(driver), Spec("y", dt.f32, (None,))  # type: ignore[arg-type]
    kept = home.take(spec, (100,), 1)
    address = home.take(spec, (100,), 1).address
    again = home.take(spec, (60,), 1)
    assert again.address == address != kept.address
    assert home.take(spec, (40,), 1).address not in (address, kept.address)
    home.close(1)
    assert len(driver.held) == 2
    del kept, again
    assert not driver.held


def test_calls_of_many_shapes_leave_little_behind(driver: FakeDriver) -> None:
    """Neither memory nor a record of each size; also where what is let go comes back in the middle of a call."""
    home, spec = Recycled(driver), Spec("y", dt.f32, (None,))  # type: ignore[arg-type]
    allocate, released = driver.allocate, list[DeviceArray]()

    def collecting(size: int, stream: int) -> int:
        released.clear()
        return allocate(size, stream)

    driver.allocate = collecting  # type: ignore[method-assign]
    for size in range(1, 1000):
        released.append(home.take(spec, (size,), 1 + size % 2))
        if size % 3 == 0:
            released.clear()
    assert len(home._free) <= len(driver.held) < 100
    released.clear()
    home.close(1)
    assert not driver.held


def test_streams_that_are_gone_leave_little_behind(driver: FakeDriver) -> None:
    home, spec = Recycled(driver), Spec("y", dt.f32, (None,))  # type: ignore[arg-type]
    for stream in range(1, 300):
        home.take(spec, (stream * 8,), stream)
    assert len(driver.held) < 70
    home.close(1)
    assert not driver.held


def test_a_receiver_s_stream_waits_for_results(driver: FakeDriver, followed: list[tuple[int, int]]) -> None:
    with twice(dt.f32).context() as context:
        y = context.run([Plain(np.ones(SHAPE, np.float32), 11)])["y"]
        for asked, waits in ((11, []), (-1, []), (5, [(5, 11)]), (None, [(1, 11)])):
            followed.clear()
            y.__dlpack__(stream=asked, max_version=(1, 0))
            assert followed == waits
        assert y.__cuda_array_interface__["stream"] == 11
    followed.clear()
    y.__dlpack__(stream=5)
    assert not followed and y.__cuda_array_interface__["stream"] is None


def test_a_receiver_s_stream_waits_for_a_part_of_what_is_bound(
    driver: FakeDriver, followed: list[tuple[int, int]]
) -> None:
    mine = Plain(np.zeros((4, 8), np.float32), None)
    with twice(dt.f32).context() as context:
        context.bind(outputs={"y": mine})
        y = context.run([Plain(np.ones(SHAPE, np.float32), 11)])["y"]
        assert isinstance(y, DeviceArray) and y.shape == SHAPE and y.order == 11
        followed.clear()
        y.__dlpack__(stream=5)
        assert followed == [(5, 11)]
    followed.clear()
    y.__dlpack__(stream=5)
    assert not followed and y.order is None


def test_the_default_stream_goes_out_by_its_public_number() -> None:
    assert DeviceArray(Spec("y", dt.f32, SHAPE), 64, SHAPE, 0).__cuda_array_interface__["stream"] == dlpack.LEGACY


def test_capsules_of_one_shape_lie_apart() -> None:
    shapes = (2, 3), (2, 3), (3, 2), ()
    made = [DeviceArray(Spec("y", dt.f16, shape), 64 * n, shape) for n, shape in enumerate(shapes, 1)]
    found = [dlpack.described(one) for one in made]
    dlpack._model.cache_clear()
    assert [(one.address, one.shape, one.element) for one in found if one] == [
        (64 * n, shape, (2, 16)) for n, shape in enumerate(shapes, 1)
    ]
    known = len(dlpack._alive)
    kept = made[0].__dlpack__()
    dlpack._model.cache_clear()
    held = dlpack._Managed.from_address(dlpack._pointer(id(kept), b"dltensor")).tensor
    assert held.data == 64 and held.shape[: held.rank] == [2, 3] and len(dlpack._alive) == known + 1
    del kept
    assert len(dlpack._alive) == known


def test_capsules_are_read_whatever_others_say_of_python_s_functions(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes.pythonapi.PyCapsule_GetPointer, "argtypes", [ctypes.py_object, ctypes.c_char_p])
    assert on_device(Spec("x", dt.f32, SHAPE), Foreign(torch.zeros(SHAPE))) is not None


ENDING = """
import atexit, ctypes
atexit.register(lambda: print(held.deleter(ctypes.pointer(held)), len(dlpack._alive), held.tensor.data))
from tenfold.ir import dtype as dt
from tenfold.runtime.cuda import dlpack
capsule = dlpack.capsule(object(), 4096, (2, 3), dt.f32)
held = dlpack._Managed.from_address(dlpack._pointer(id(capsule), b"dltensor"))
print(len(dlpack._alive), held.tensor.data)
"""


def test_a_receiver_that_outlives_python_calls_none_of_it() -> None:
    ran = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split() == ["1", "4096", "None", "1", "4096"] and not ran.stderr


UNTAKEN = """
import sys
from tenfold.ir import dtype as dt
from tenfold.runtime.cuda import dlpack
def made(): return dlpack.capsule(object(), 4096, (2, 3), dt.f32)
kept = [made()]
kept.append(kept)
sys.kept, dlpack.kept = made(), made()
"""


def test_capsules_that_nobody_takes_may_outlive_python() -> None:
    ran = subprocess.run([sys.executable, "-c", UNTAKEN], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0 and not ran.stderr
