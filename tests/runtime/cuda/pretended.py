"""PyTorch's tensors of the CPU taken for the GPU's, whose memory is this machine's: see `emulated`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tenfold.runtime.cuda import dlpack

STREAM = 9


class Current:
    """The stream that PyTorch says is its current one."""

    number = STREAM


def pretend(monkeypatch: pytest.MonkeyPatch) -> Current:
    """Let all tensors lie on an emulated GPU."""
    current = Current()
    monkeypatch.setattr(dlpack, "CUDA_DEVICE", 1)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: current.number, raising=False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=current.number))
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    monkeypatch.setattr(torch.Tensor, "get_device", lambda tensor: 0)
    return current
