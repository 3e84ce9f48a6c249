"""PyTorch as a peer of rows that are one operator or a few, eager and compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from bench.cpu.rows import Row

Array = NDArray[Any]
Work = Callable[..., Any]


class TorchPeer:
    """The work of a row in PyTorch."""

    def __init__(self, row: Row, threads: int, compiled: bool) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._torch.set_num_threads(threads)
        graph = onnx.load(row.model()).graph
        weights = [self._tensor(numpy_helper.to_array(one)) for one in graph.initializer]
        work = work_of(self._torch, row.torch, weights)
        self._work = self._torch.compile(work) if compiled else work

    def _tensor(self, array: Array) -> Any:
        return self._torch.from_numpy(np.array(array))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, numbered."""
        with self._torch.inference_mode():
            found = self._work(*(self._torch.from_numpy(array) for array in inputs.values()))
        several = found if isinstance(found, tuple) else (found,)
        return {str(number): one.numpy() for number, one in enumerate(several)}


def work_of(torch: Any, name: str, weights: list[Any]) -> Work:
    """What PyTorch calls the same as the row of that name."""
    convolve = torch.nn.functional.conv2d
    resize, sample = torch.nn.functional.interpolate, torch.nn.functional.grid_sample
    works: dict[str, Work] = {
        "product": lambda x: x @ weights[0],
        "dft": lambda x: torch.view_as_real(torch.fft.rfft(x[..., 0])),
        "stft": lambda x: torch.view_as_real(_stft(torch, x[..., 0], weights)),
        "conv-11x11": lambda x: convolve(x, weights[0], weights[1], padding=5),
        "resize-3d": lambda x: resize(x, scale_factor=2, mode="trilinear", align_corners=False),
        "grid-sample": lambda x, grid: sample(x, grid, align_corners=False),
        "cumsum-last": lambda x: torch.cumsum(x, 1),
        "cumsum-first": lambda x: torch.cumsum(x, 0),
        "top-k": lambda x: tuple(torch.topk(x, 100)),
        "norm-first-axis": lambda x: (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + 1e-5),
    }
    return works[name]


def _stft(torch: Any, x: Any, weights: list[Any]) -> Any:
    window = next(one for one in weights if one.ndim == 1)
    return torch.stft(x, 512, 160, 512, window, center=False, return_complex=True).transpose(1, 2)
