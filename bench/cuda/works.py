"""What is measured: regions of one or two operations, with what PyTorch and the libraries call the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tenfold.codegen.cuda import contraction, pointwise, reduce
from tenfold.codegen.region import Anchored, Body, Instruction, Operand, Phase, Pointwise, Region, Row, identity
from tenfold.codegen.strategy import Strategy
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.type import Type
from tenfold.ops import activation, arithmetic, logic
from tenfold.ops.constant import scalar
from tenfold.ops.matmul import MatMul
from tenfold.runtime.cuda.product import VENDOR


def dense(dtype: DType, shape: Sequence[int], over: Sequence[int] | None = None) -> Operand:
    """A row-major tensor, repeated over the leading axes of `over`."""
    strides = [1] * len(shape)
    for axis in reversed(range(len(shape) - 1)):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    over = tuple(over or shape)
    return Operand(Value(Type(dtype, tuple(shape))), dtype, over, (*(0,) * (len(over) - len(shape)), *strides))


def body(inputs: Sequence[DType], *code: tuple[Any, tuple[int, ...], DType]) -> Body:
    """A body that gives its last register."""
    return Body(tuple(inputs), tuple(Instruction(*one) for one in code), (len(inputs) + len(code) - 1,))


@dataclass(frozen=True)
class Work:
    """A region, who may build it, what PyTorch calls the same, and what bounds it."""

    name: str
    region: Region
    inputs: tuple[Operand, ...]
    strategies: tuple[Strategy, ...]
    exact: Callable[..., Any]
    peers: dict[str, Callable[..., Any]]
    flops: float
    bytes: float
    most: int = 99
    select: Callable[[Any], bool] = lambda tactic: True
    turned: Region | None = None
    """The same of a second matrix that is turned, as peers called nt get it."""


def product(m: int, n: int, k: int, select: Callable[[Any], bool], bias: bool = False) -> Work:
    a, b, c = dense(dt.f16, (m, k)), dense(dt.f16, (k, n)), dense(dt.f16, (m, n))
    extra = (dense(dt.f16, (n,), (m, n)),) if bias else ()
    what = body([dt.f16] * 2, (arithmetic.Add(), (0, 1), dt.f16), (activation.Gelu(), (2,), dt.f16)) if bias else None
    region = Anchored((m, n), (c,), MatMul(), (a, b), what or identity(dt.f16), extra)

    def exact(x: Any, y: Any, *rest: Any) -> Any:
        sums = x.double() @ y.double()
        return torch.nn.functional.gelu(sums + rest[0].double()) if rest else sums

    def transposed(x: Any, y: Any, out: Any) -> Any:
        if not hasattr(y, "turned"):
            y.turned = y.t().contiguous().t()
        return torch.mm(x, y.turned, out=out)

    def lt(run: Callable[..., Any]) -> Callable[..., Any]:
        def preferred(*given: Any) -> Any:
            torch.backends.cuda.preferred_blas_library("cublaslt")
            try:
                return run(*given)
            finally:
                torch.backends.cuda.preferred_blas_library("cublas")

        return preferred

    plain_peers = {"cublas": lambda x, y, out: torch.mm(x, y, out=out), "cublas-nt": transposed}
    peers: dict[str, Callable[..., Any]] = {
        **plain_peers,
        **{name.replace("cublas", "cublaslt"): lt(run) for name, run in plain_peers.items()},
    }
    if bias:
        fused = torch.compile(
            lambda x, y, z: torch.nn.functional.gelu(x @ y + z), mode="max-autotune-no-cudagraphs", dynamic=False
        )
        peers = {
            "cublas+eager": lambda x, y, z, out: torch.nn.functional.gelu(torch.addmm(z, x, y, out=out)),
            "torch.compile": lambda x, y, z, out: fused(x, y, z),
        }
    moved = 2.0 * (m * k + k * n + m * n)
    name = f"gemm{'+bias+gelu' if bias else ''} {m}x{n}x{k}"
    strategies = (contraction.STRATEGY,)
    nt = None if bias else replace(region, inputs=(a, replace(b, strides=(1, k))))
    return Work(name, region, (a, b, *extra), strategies, exact, peers, 2.0 * m * n * k, moved, TRIED, select, nt)


def plain(tactic: Any) -> bool:
    return tactic.strategy != VENDOR


def softmax(rows: int, columns: int) -> Work:
    shape, wide = (rows, columns), dt.f32
    x, y = dense(dt.f16, shape), dense(dt.f16, shape)
    top = body([dt.f16], (logic.Cast(wide), (0,), wide))
    centred = ((logic.Cast(wide), (0,), wide), (arithmetic.Sub(), (2, 1), wide), (arithmetic.Exp(), (3,), wide))
    rest = ((logic.Cast(wide), (0,), wide), (arithmetic.Sub(), (3, 1), wide), (arithmetic.Exp(), (4,), wide))
    last = ((arithmetic.Div(), (5, 2), wide), (logic.Cast(dt.f16), (6,), dt.f16))
    phases = (Phase(top, "max"), Phase(body([dt.f16, wide], *centred), "sum"))
    region = Row(shape, (y,), 1, (x,), phases, body([dt.f16, wide, wide], *rest, *last))
    compiled = torch.compile(lambda x: torch.softmax(x, -1), mode="max-autotune-no-cudagraphs", dynamic=False)
    peers = {"eager": lambda x, out: torch.softmax(x, -1, out=out), "torch.compile": lambda x, out: compiled(x)}
    exact = lambda x: torch.softmax(x.double(), -1)  # noqa: E731
    return Work(f"softmax {rows}x{columns}", region, (x,), (reduce.STRATEGY,), exact, peers, 0, 4.0 * rows * columns)


def layer_norm(rows: int, columns: int) -> Work:
    shape, wide = (rows, columns), dt.f32
    x, y = dense(dt.f16, shape), dense(dt.f16, shape)
    scale, shift = dense(dt.f16, (columns,), shape), dense(dt.f16, (columns,), shape)
    inputs, part = [dt.f16] * 3, 1 / columns
    mean = ((scalar(part, wide), (), wide), (arithmetic.Mul(), (3, 4), wide), (logic.Cast(wide), (0,), wide))
    off = (arithmetic.Sub(), (6, 5), wide)
    phases = (
        Phase(body(inputs, (logic.Cast(wide), (0,), wide)), "sum"),
        Phase(body([*inputs, wide], *mean, off, (arithmetic.Mul(), (7, 7), wide)), "sum"),
    )
    code = (
        (scalar(part, wide), (), wide), (arithmetic.Mul(), (3, 5), wide), (logic.Cast(wide), (0,), wide),
        (arithmetic.Sub(), (7, 6), wide), (arithmetic.Mul(), (4, 5), wide), (scalar(1e-5, wide), (), wide),
        (arithmetic.Add(), (9, 10), wide), (arithmetic.Rsqrt(), (11,), wide), (arithmetic.Mul(), (8, 12), wide),
        (logic.Cast(wide), (1,), wide), (arithmetic.Mul(), (13, 14), wide), (logic.Cast(wide), (2,), wide),
        (arithmetic.Add(), (15, 16), wide), (logic.Cast(dt.f16), (17,), dt.f16),
    )  # fmt: skip
    region = Row(shape, (y,), 1, (x, scale, shift), phases, body([*inputs, wide, wide], *code))
    norm = torch.nn.functional.layer_norm
    compiled = torch.compile(
        lambda x, g, b: norm(x, (columns,), g, b), mode="max-autotune-no-cudagraphs", dynamic=False
    )
    peers = {
        "eager": lambda x, g, b, out: norm(x, (columns,), g, b),
        "torch.compile": lambda x, g, b, out: compiled(x, g, b),
    }
    exact = lambda x, g, b: norm(x.double(), (columns,), g.double(), b.double())  # noqa: E731
    operands, moved = (x, scale, shift), 4.0 * rows * columns
    return Work(f"layernorm {rows}x{columns}", region, operands, (reduce.STRATEGY,), exact, peers, 0, moved)


def add_gelu(rows: int, columns: int, bias: bool) -> Work:
    shape = (rows, columns)
    x, y = dense(dt.f16, shape), dense(dt.f16, (columns,), shape) if bias else dense(dt.f16, shape)
    what = body([dt.f16] * 2, (arithmetic.Add(), (0, 1), dt.f16), (activation.Gelu(), (2,), dt.f16))
    region = Pointwise(shape, (dense(dt.f16, shape),), (x, y), what)
    gelu = torch.nn.functional.gelu
    compiled = torch.compile(lambda x, y: gelu(x + y), mode="max-autotune-no-cudagraphs", dynamic=False)
    peers = {"eager": lambda x, y, out: gelu(x + y), "torch.compile": lambda x, y, out: compiled(x, y)}
    exact = lambda x, y: gelu(x.double() + y.double())  # noqa: E731
    name = f"add{'-row' if bias else ''}+gelu {rows}x{columns}"
    moved = (4.0 if bias else 6.0) * rows * columns
    return Work(name, region, (x, y), (pointwise.STRATEGY,), exact, peers, 0, moved)


LARGE = ((8192, 8192, 8192), (4096, 4096, 4096), (8192, 8192, 512), (1024, 3072, 768), (1024, 768, 3072))
TRIED = 16
"""How many tactics are tried at a product."""
GROUPS: dict[str, Callable[[], list[Work]]] = {
    "gemm": lambda: [product(*size, plain) for size in LARGE],
    "few": lambda: [product(m, 4096, 4096, plain) for m in (1, 16, 64)],
    "deep": lambda: [product(1024, 768, 3072, plain), *GROUPS["few"]()],
    "products": lambda: [*GROUPS["gemm"](), *GROUPS["few"]()],
    "rows": lambda: [
        *(softmax(*size) for size in ((8192, 1024), (65536, 512), (4096, 8192))),
        *(layer_norm(*size) for size in ((16384, 768), (8192, 4096), (512, 768))),
    ],
    "pointwise": lambda: [add_gelu(16384, 4096, False), add_gelu(16384, 4096, True), add_gelu(512, 3072, True)],
    "fused": lambda: [product(8192, 8192, 512, plain, True), product(1024, 3072, 768, plain, True)],
}
