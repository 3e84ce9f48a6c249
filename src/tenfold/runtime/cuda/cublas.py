"""cuBLASLt, where it is installed: products of matrices with a bias, an activation or a residual, on a stream.

What engines hold of it is the problem, never its code; the algorithm is looked up when the product first runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from cuda import pathfinder

from tenfold.errors import ExecutionError
from tenfold.runtime.cuda.product import EPILOGUES, Product

_COMPUTE_F32, _SCALE_F32 = 68, 0
_TYPES = {"f16": 2, "bf16": 14}
_TRANSPOSED, _EPILOGUE, _BIAS, _BIAS_TYPE, _WORKSPACE = 3, 7, 8, 26, 1
_ASKED = 8


class _Heuristic(ctypes.Structure):
    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


class Cublas:
    """The library, and what it said of the products that were asked for."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._call("cublasLtCreate", ctypes.byref(self._handle))
        self._plans: dict[Product, tuple[Any, ...]] = {}
        self._one, self._none = ctypes.c_float(1.0), ctypes.c_float(0.0)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise ExecutionError(f"cuBLASLt refused: {name} gave {status}", remedy="build without vendor tactics")

    def _described(self, product: Product) -> tuple[Any, ...]:
        kind = _TYPES[product.dtype]
        description = ctypes.c_void_p()
        self._call("cublasLtMatmulDescCreate", ctypes.byref(description), _COMPUTE_F32, _SCALE_F32)
        self._set(description, _TRANSPOSED, ctypes.c_int32(product.turned))
        self._set(description, _EPILOGUE, ctypes.c_int32(EPILOGUES[product.epilogue]))
        if product.epilogue.startswith("bias"):
            self._set(description, _BIAS_TYPE, ctypes.c_int32(kind))
        m, n, k = product.m, product.n, product.k
        first = (k, n, product.b) if product.turned else (n, k, product.b)
        layouts = [self._layout(kind, *one) for one in (first, (k, m, product.a), (n, m, product.c), (n, m, product.d))]
        return description, *layouts, self._algorithm(product, description, layouts)

    def _set(self, description: Any, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self._call("cublasLtMatmulDescSetAttribute", description, attribute, ctypes.byref(value), size)

    def _layout(self, kind: int, rows: int, columns: int, step: int) -> Any:
        made = ctypes.c_void_p()
        sizes = ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(step)
        self._call("cublasLtMatrixLayoutCreate", ctypes.byref(made), kind, *sizes)
        return made

    def _algorithm(self, product: Product, description: Any, layouts: list[Any]) -> Any:
        preference, found = ctypes.c_void_p(), ctypes.c_int()
        self._call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
        most = ctypes.c_size_t(product.workspace)
        size = ctypes.c_size_t(ctypes.sizeof(most))
        name = "cublasLtMatmulPreferenceSetAttribute"
        self._call(name, preference, _WORKSPACE, ctypes.byref(most), size)
        results = (_Heuristic * _ASKED)()
        name = "cublasLtMatmulAlgoGetHeuristic"
        given = (self._handle, description, *layouts, preference, _ASKED, results, ctypes.byref(found))
        self._call(name, *given)
        self._call("cublasLtMatmulPreferenceDestroy", preference)
        if product.choice >= found.value:
            raise ExecutionError(f"cuBLASLt proposes {found.value} algorithms for {product}", remedy="build it again")
        return results[product.choice]

    def run(self, product: Product, addresses: Sequence[int], stream: int) -> None:
        """Put the product on a stream; the addresses are those of a, b, bias, residual, result and workspace."""
        a, b, bias, residual, to, workspace = addresses
        if product not in self._plans:
            self._plans[product] = self._described(product)
        description, first, second, third, result, algorithm = self._plans[product]
        if product.epilogue.startswith("bias"):
            self._set(description, _BIAS, ctypes.c_void_p(bias))
        added = self._one if product.residual else self._none
        self._call(
            "cublasLtMatmul",
            self._handle,
            description,
            ctypes.byref(self._one),
            *(ctypes.c_void_p(b), first, ctypes.c_void_p(a), second),
            ctypes.byref(added),
            *(ctypes.c_void_p(residual if product.residual else to), third, ctypes.c_void_p(to), result),
            ctypes.byref(algorithm.algorithm),
            ctypes.c_void_p(workspace),
            ctypes.c_size_t(product.workspace),
            ctypes.c_void_p(stream),
        )


@cache
def cublas() -> Cublas | None:
    """The library; None where it is not installed."""
    try:
        path = pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path
        return Cublas(ctypes.CDLL(path))
    except (OSError, RuntimeError):
        return None
