"""PyTorch as a peer, eager and compiled: of rows that are one operator or a few, and of whole networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from bench.cpu.rows import Row
from bench.cpu.torch_network import Network

Array = NDArray[Any]
Work = Callable[..., Any]


class TorchPeer:
    """The work of a row in PyTorch."""

    def __init__(self, row: Row, threads: int, compiled: bool) -> None:
        torch.set_num_threads(threads)
        work = self._work_of(row) if row.torch else self._network(row)
        self._work = torch.compile(work, options={"freezing": True}) if compiled else work

    def _work_of(self, row: Row) -> Work:
        graph = onnx.load(row.model()).graph
        weights = [torch.from_numpy(np.array(numpy_helper.to_array(one))) for one in graph.initializer]
        return work_of(row.torch, weights)

    def _network(self, row: Row) -> Work:
        """The row's network as torch.compile likes it best: exported, its weights constants that it may pack."""
        given = {name: torch.from_numpy(array) for name, array in row.inputs(0).items()}
        with torch.no_grad():
            network = Network(onnx.load(row.model()), given).eval()
            return torch.export.export(network, tuple(given.values())).module()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, numbered."""
        with torch.no_grad():
            found = self._work(*(torch.from_numpy(array) for array in inputs.values()))
        several = found if isinstance(found, tuple | list) else (found,)
        return {str(number): one.numpy() for number, one in enumerate(several)}


def work_of(name: str, weights: list[Any]) -> Work:
    """What PyTorch calls the same as the row of that name."""
    convolve = torch.nn.functional.conv2d
    resize, sample = torch.nn.functional.interpolate, torch.nn.functional.grid_sample
    works: dict[str, Work] = {
        "product": lambda x: x @ weights[0],
        "dft": lambda x: torch.view_as_real(torch.fft.rfft(x[..., 0])),
        "stft": lambda x: torch.view_as_real(_stft(x[..., 0], weights)),
        "conv-11x11": lambda x: convolve(x, weights[0], weights[1], padding=5),
        "resize-3d": lambda x: resize(x, scale_factor=2, mode="trilinear", align_corners=False),
        "grid-sample": lambda x, grid: sample(x, grid, align_corners=False),
        "cumsum-last": lambda x: torch.cumsum(x, 1),
        "cumsum-first": lambda x: torch.cumsum(x, 0),
        "top-k": lambda x: tuple(torch.topk(x, 100)),
        "norm-first-axis": lambda x: (x - x.mean(0)) / torch.sqrt(x.var(0, correction=0) + 1e-5),
    }
    return works[name]


def _stft(x: Any, weights: list[Any]) -> Any:
    window = next(one for one in weights if one.ndim == 1)
    return torch.stft(x, 512, 160, 512, window, center=False, return_complex=True).transpose(1, 2)
