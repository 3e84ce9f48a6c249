"""The module's own tensors as constants: each storage once, whatever names it goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch

from tenfold.errors import UnsupportedError
from tenfold.importers.torch.promote import dtype_of
from tenfold.importers.torch.signal import Complex
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant

_BITS: Mapping[Any, tuple[Any, Any]] = {
    torch.bfloat16: (torch.int16, ml_dtypes.bfloat16),
    torch.float8_e4m3fn: (torch.uint8, ml_dtypes.float8_e4m3fn),
    torch.float8_e4m3fnuz: (torch.uint8, ml_dtypes.float8_e4m3fnuz),
    torch.float8_e5m2: (torch.uint8, ml_dtypes.float8_e5m2),
    torch.float8_e5m2fnuz: (torch.uint8, ml_dtypes.float8_e5m2fnuz),
}


class Weights:
    """Parameters, buffers and constants of a module by name, made constants of `graph` when they are used."""

    def __init__(self, tensors: Mapping[str, Any], graph: Graph) -> None:
        self._tensors = tensors
        self._graph = graph
        self._made: dict[tuple[Any, ...], Any] = {}
        graph.weights = {name: None for name, one in tensors.items() if isinstance(one, torch.Tensor)}

    def value(self, name: str) -> Any:
        """The constant of that name."""
        return self.of_tensor(self._tensors[name], name)

    def of_tensor(self, tensor: Any, name: str) -> Any:
        """A tensor as a constant; one that is the same memory seen the same way is the same constant."""
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if key not in self._made or not tensor.numel():
            self._made[key] = self._constant(tensor, name)
        found = self._made[key]
        if isinstance(found, Value) and isinstance(found.op, Constant):
            self._graph.weights[name] = found.op.tensor
        return found

    def _constant(self, tensor: Any, name: str) -> Any:
        if tensor.is_complex():
            return Complex(*(self._constant(one.contiguous(), name) for one in (tensor.real, tensor.imag)))
        made: Value = Constant(Tensor(array_of(tensor), source=name))()
        made.name = name
        return made


def array_of(tensor: Any) -> np.ndarray[Any, Any]:
    """A tensor's elements as NumPy's, in place where they lie in the CPU's memory row by row."""
    if tensor.is_quantized or tensor.layout is not torch.strided:
        raise UnsupportedError(
            f"a tensor of layout {tensor.layout}", remedy="convert it by .to_dense() or .dequantize()"
        )
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    dtype_of(plain.dtype)
    bits = _BITS.get(plain.dtype)
    if bits is None:
        found: np.ndarray[Any, Any] = plain.numpy()
        return found
    return np.asarray(plain.contiguous().view(bits[0]).numpy().view(bits[1]))
