"""While a module is exported only the shapes of recurrent layers matter; PyTorch would unroll them to find these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C import DispatchKey

_ATEN = torch.ops.aten


def _lstm(
    x: Any, hx: Any, params: Any, biases: bool, layers: int, p: float, train: bool, both: bool, first: bool
) -> tuple[Any, Any, Any]:
    return (_sequence(x, hx[0], both, first), torch.empty_like(hx[0]), torch.empty_like(hx[1]))


def _single(
    x: Any, hx: Any, params: Any, biases: bool, layers: int, p: float, train: bool, both: bool, first: bool
) -> tuple[Any, Any]:
    return (_sequence(x, hx, both, first), torch.empty_like(hx))


def _sequence(x: Any, state: Any, both: bool, first: bool) -> Any:
    width = state.shape[-1] * (2 if both else 1)
    if first:
        return x.new_empty((x.shape[1], x.shape[0], width)).transpose(0, 1)
    return x.new_empty((*x.shape[:-1], width))


_CHEAP: dict[Any, Callable[..., Any]] = {
    _ATEN.lstm.input: _lstm,
    _ATEN.gru.input: _single,
    _ATEN.rnn_tanh.input: _single,
    _ATEN.rnn_relu.input: _single,
}
_KEYS = (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within it, recurrent layers give tensors of the right shapes and no contents."""
    kept = {op: dict(op.py_kernels) for op in _CHEAP}
    for op, cheap in _CHEAP.items():
        for key in _KEYS:
            if key in op.py_kernels:
                op.py_kernels[key] = cheap
        op._dispatch_cache.clear()
    try:
        yield
    finally:
        for op, kernels in kept.items():
            op.py_kernels.update(kernels)
            op._dispatch_cache.clear()
