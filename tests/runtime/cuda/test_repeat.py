"""Calls that repeat, on the CPU's tensors: results' memory is used again when the caller's last tensor is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.ir import dtype as dt
from tenfold.runtime.plan import Spec

from tenfold.runtime.cuda import dlpack, repeat  # isort: skip
from tenfold.runtime.cuda.arrays import DeviceArray  # isort: skip

STREAM = 7


class Memory:
    """Of one result; counts how many there are."""

    alive = 0

    def __init__(self) -> None:
        self.array = np.zeros((2, 3), np.float32)
        Memory.alive += 1

    def __del__(self) -> None:
        Memory.alive -= 1


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(dlpack, "CUDA_DEVICE", 1)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: STREAM, raising=False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    return []


def made(x: torch.Tensor, ran: list[int]) -> repeat.Repeat:
    def fresh() -> Any:
        memory, number = Memory(), Memory.alive
        result = DeviceArray(Spec("y", dt.f32, (2, 3)), memory.array.ctypes.data, (2, 3), STREAM, memory)
        return SimpleNamespace(run=lambda *_: ran.append(number), close=lambda: None), [result]

    driver: Any = SimpleNamespace(enter=lambda: None)
    return repeat.Repeat(driver, {"x": x}, STREAM, STREAM, fresh)


def test_memory_is_used_again_when_nothing_refers_to_it(ran: list[int]) -> None:
    x = torch.zeros(4)
    again = made(x, ran)
    for _ in range(3):
        assert again.run([x]) is not None
    assert ran == [1, 1, 1]
    (first,) = again.run({"x": x}) or ()
    (second,) = again.run([x]) or ()
    assert first.data_ptr() != second.data_ptr() and ran[-2:] == [1, 2]
    part = first.view(-1)[2:4].numpy()
    del first
    again.run([x])
    assert ran[-1] == 3
    del part
    again.run([x])
    assert ran[-1] == 1
    again.close()
    assert Memory.alive == 1
    del second
    assert Memory.alive == 0


def test_other_calls_are_left_alone(ran: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(4)
    again = made(x, ran)
    assert again.run([torch.zeros(4)]) is None and again.run([x[:2]]) is None and again.run([x, x]) is None
    assert again.run([x.numpy()]) is None
    held = [again.run([x]) for _ in range(repeat.MOST)]
    assert all(held) and again.run([x]) is None
    monkeypatch.setattr(again, "_current", lambda device: STREAM + 1)
    held.clear()
    assert again.run([x]) is None
    again.close()
    assert Memory.alive == 0
