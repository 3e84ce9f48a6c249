"""cuDNN, where it is installed: convolutions with a bias, a residual and a ReLU, on a stream.

What engines hold of it is the problem, never its code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from cuda import pathfinder

from tenfold.errors import ExecutionError
from tenfold.runtime.cuda.product import Convolution

_TYPES = {"f16": 2, "bf16": 9}
_F32, _CHANNELS_LAST, _CORRELATION, _TENSOR_CORES = 0, 1, 1, 1
_RELU, _IDENTITY, _NAN_STAYS = 1, 5, 1


class Cudnn:
    """The library, and the descriptions of the convolutions that were asked for."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._call("cudnnCreate", ctypes.byref(self._handle))
        self._plans: dict[Convolution, tuple[Any, ...]] = {}
        self._one, self._none = ctypes.c_float(1.0), ctypes.c_float(0.0)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise ExecutionError(f"cuDNN refused: {name} gave {status}", remedy="build without vendor tactics")

    def _made(self, kind: str) -> Any:
        made = ctypes.c_void_p()
        self._call(f"cudnnCreate{kind}Descriptor", ctypes.byref(made))
        return made

    def _images(self, kind: int, count: int, channels: int, size: tuple[int, int]) -> Any:
        made = self._made("Tensor")
        self._call("cudnnSetTensor4dDescriptor", made, _CHANNELS_LAST, kind, count, channels, *size)
        return made

    def _described(self, asked: Convolution) -> tuple[Any, ...]:
        kind = _TYPES[asked.dtype]
        x = self._images(kind, asked.images, asked.channels, asked.size)
        y = self._images(kind, asked.images, asked.filters, asked.out)
        row = self._images(kind, 1, asked.filters, (1, 1))
        w, over, end = (self._made(name) for name in ("Filter", "Convolution", "Activation"))
        sizes = asked.filters, asked.channels // asked.groups, *asked.taps
        self._call("cudnnSetFilter4dDescriptor", w, kind, _CHANNELS_LAST, *sizes)
        pairs = *asked.pads, *asked.steps, *asked.dilations
        self._call("cudnnSetConvolution2dDescriptor", over, *pairs, _CORRELATION, _F32)
        self._call("cudnnSetConvolutionGroupCount", over, asked.groups)
        self._call("cudnnSetConvolutionMathType", over, _TENSOR_CORES)
        activation = _RELU if asked.relu else _IDENTITY
        self._call("cudnnSetActivationDescriptor", end, activation, _NAN_STAYS, ctypes.c_double(0.0))
        room = ctypes.c_size_t()
        found = x, w, over, y
        self._call("cudnnGetConvolutionForwardWorkspaceSize", self._handle, *found, asked.algorithm, ctypes.byref(room))
        if room.value > asked.workspace:
            raise ExecutionError(f"cuDNN needs {room.value} bytes of workspace", remedy="build it again")
        return *found, row, end

    def run(self, asked: Convolution, addresses: Sequence[int], stream: int) -> None:
        """Put the convolution on a stream; the addresses are those of images, filters, bias, residual, result and
        workspace.
        """
        images, filters, bias, residual, to, room = (ctypes.c_void_p(one) for one in addresses)
        if asked not in self._plans:
            self._plans[asked] = self._described(asked)
        x, w, over, y, row, end = self._plans[asked]
        self._call("cudnnSetStream", self._handle, ctypes.c_void_p(stream))
        size = ctypes.c_size_t(asked.workspace)
        given = (self._handle, ctypes.byref(self._one), x, images, w, filters, over, asked.algorithm, room, size)
        if not asked.bias:
            self._call("cudnnConvolutionForward", *given, ctypes.byref(self._none), y, to)
            return
        added = self._one if asked.residual else self._none
        beside = residual if asked.residual else to
        rest = (ctypes.byref(added), y, beside, row, bias, end, y, to)
        self._call("cudnnConvolutionBiasActivationForward", *given, *rest)


@cache
def cudnn() -> Cudnn | None:
    """The library; None where it is not installed."""
    try:
        path = pathfinder.load_nvidia_dynamic_lib("cudnn").abs_path
        return Cudnn(ctypes.CDLL(path))
    except (OSError, RuntimeError):
        return None
