"""Compiles sampled tactics for sm_90 with no GPU; prints a line for each. A process of its own, as tests interpret.

None may round to TF32, which no model asks for that says nothing of precision, but those that are compiled last for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import triton

from tenfold.codegen.cuda import (
    chain,
    columns,
    gemm,
    grouped,
    paged,
    pingpong,
    plain,
    pointwise,
    recurrent,
    reduce,
    running,
    scan,
    scatter,
    sort,
    stream,
    sweeps,
    whole,
)
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.conv import boxes, depthwise, expanded, gated, kept, lines, pooled, transposed, wave
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.cuda.program import Program
from tenfold.codegen.cuda.triton import compile_program
from tenfold.codegen.region import Anchored, Chain, Operand, Phase, Region, Row, identity
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ops.activation import Gelu
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.attention import Attention, PagedAttention
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv, ConvTranspose, Gated
from tenfold.ops.index import ScatterND
from tenfold.ops.matmul import MatMul, PairedMatMul
from tenfold.ops.moments import Standardise
from tenfold.ops.recurrent import GRU
from tenfold.ops.reduce import Cumulative
from tenfold.ops.sort import TopK
from tenfold.target import Target
from tests.codegen.cpu import anchored, cases
from tests.codegen.cpu.anchored import Given
from tests.codegen.cpu.cases import body, tensor
from tests.codegen.cuda.expansions import expanded_image
from tests.codegen.cuda.rooms import given_away
from tests.codegen.cuda.table import group, image, pooled_image, residual

TARGET = Target("cuda", "sm_90")


def product(m: int, n: int, k: int, turned: bool = False) -> Anchored:
    """A plain product in f16; `turned`: terms of a column lie side by side."""
    a, b, c = (tensor(dt.f16, shape) for shape in ((m, k), (k, n), (m, n)))
    b = tensor(dt.f16, (k, n), (1, 0)) if turned else b
    return Anchored((m, n), (c,), MatMul(), (a, b), identity(dt.f16))


def matrix(n: int, k: int) -> Region:
    """A row by a constant matrix in f16."""
    value = Constant(Tensor(np.ones((k, n), np.float16)))()
    a, c = tensor(dt.f16, (1, k)), tensor(dt.f16, (1, n))
    b = replace(tensor(dt.f16, (k, n)), value=value)
    return Anchored((1, n), (c,), MatMul(), (a, b), identity(dt.f16))


def telling(n: int = 256, k: int = 768) -> Region:
    """A product that tells the moments of 32 columns of its rows at a time."""
    return replace(product(200, n, k), moments=tensor(dt.f32, (2, n // 32, 200)))


def standardised(m: int = 200, n: int = 256, k: int = 128) -> Region:
    """A product of rows whose moments are told in 4 parts, with a row added to it."""
    plain, told = product(m, n, k), tensor(dt.f32, (2, 4, m))
    rows = tuple(Operand(told.value, dt.f32, (m, n), (1, 0), part * m) for part in range(8))
    column = replace(tensor(dt.f16, (n,)), shape=(m, n), strides=(0, 1))
    what = body(
        [dt.f16, *[dt.f32] * 8, dt.f16],
        (Standardise(k, 1e-6, centred=True), tuple(range(9)), dt.f16),
        (Add(), (10, 9), dt.f16),
    )
    return replace(plain, body=what, extra=(*rows, column))


def paired(m: int, n: int, k: int, stands: bool = False, turned: bool = False) -> Region:
    """x gelu(y) of both halves of a product, with a row added to each; `stands`: the rows are standardised before."""
    domain, f16 = (m, n), dt.f16
    a, b, c = tensor(f16, (m, k)), tensor(f16, (k, 2 * n), (1, 0) if turned else None), tensor(f16, domain)
    told, row = tensor(dt.f32, (2, 2, m)), tensor(f16, (2 * n,))
    sums = [Operand(told.value, dt.f32, domain, (1, 0), part * m) for part in range(4 * stands)]
    rows = [Operand(row.value, f16, domain, (0, 1), half * n) for half in range(2)]
    first = 2 + len(sums) + 2
    norm = Standardise(k, 1e-6, centred=True)
    code = [(norm, (half, *range(2, 2 + len(sums))), f16) for half in range(2) if stands]
    at = first if stands else 0
    code += [(Add(), (at + half, first - 2 + half), f16) for half in range(2)]
    last = first + len(code)
    code += [(Gelu(), (last - 1,), f16), (Mul(), (last - 2, last), f16)]
    what = body([f16, f16, *[dt.f32] * len(sums), f16, f16], *code)
    return Anchored(domain, (c,), PairedMatMul(), (a, b), what, (*sums, *rows), results=2)


def few_keys() -> Region:
    """Attention to 197 keys."""
    q, k, v, y = (tensor(dt.f16, (2, 3, 197, 64)) for _ in range(4))
    return Anchored(y.shape, (y,), Attention(0.125), (q, k, v), identity(dt.f16))


def pages() -> Region:
    """Attention of a query each to two sequences in pages."""
    q, y = (tensor(dt.f16, (2, 32, 1, 64)) for _ in range(2))
    pools = [tensor(dt.f16, (99, 16, 8, 64)) for _ in range(2)]
    given = (q, *pools, tensor(dt.i32, (2, 64)), tensor(dt.i32, (2,)))
    return Anchored(y.shape, (y,), PagedAttention(0.125), given, identity(dt.f16))


def many_keys(width: int, causal: bool) -> Region:
    """Attention to 1,000 keys."""
    q, k, v, y = (tensor(dt.f16, (1, 4, 1000, width)) for _ in range(4))
    return Anchored(y.shape, (y,), Attention(0.125, causal=causal), (q, k, v), identity(dt.f16))


def behind(n: int, k: int) -> Region:
    """Two products of a row, one behind the other."""
    first, second = matrix(k, k), matrix(n, k)
    assert isinstance(second, Anchored)
    last = replace(second, inputs=(first.outputs[0], second.inputs[1]))
    return Chain(last.domain, (*first.outputs, *last.outputs), (first, last))


def channels() -> Region:
    """A convolution of one channel a group."""
    x, w, y = (tensor(dt.f16, shape) for shape in ((2, 64, 28, 28), (64, 1, 5, 5), (2, 64, 28, 28)))
    return Anchored((2, 64, 28, 28), (y,), Conv((1, 1), (1, 1), (2, 2), (2, 2), 64), (x, w), identity(dt.f16))


def squeezed() -> Region:
    """The same, which tells the sums of its lines."""
    plain, told = channels(), tensor(dt.f32, (2, 28, 64))
    assert isinstance(plain, Anchored)
    return replace(plain, sums=told)


def excited() -> Region:
    """A convolution of an image times one number a channel."""
    x, w, gate, y = (
        tensor(dt.f16, shape) for shape in ((2, 96, 28, 28), (24, 96, 1, 1), (2, 96, 1, 1), (2, 24, 28, 28))
    )
    return Anchored((2, 24, 28, 28), (y,), Gated(), (x, w, gate), identity(dt.f16))


def images() -> Region:
    """Sums of rows whose elements lie apart."""
    x, y = tensor(dt.f32, (2, 64, 784)), tensor(dt.f32, (2, 64, 1))
    apart, sums = replace(x, strides=(64 * 784, 1, 64)), replace(y, shape=x.shape, strides=(64, 1, 0))
    one = identity(dt.f32)
    return Row(x.shape, (), reduced=1, inputs=(apart,), phases=(Phase(one, "sum"),), body=None, finish=one,
               finish_outputs=(sums,))  # fmt: skip


def of(op: Op, *arrays: np.ndarray, constants: int = 0) -> Region:
    """An operation on arrays, the `constants` after the first of which are constants."""
    given = [Given(one, constant=0 < at <= constants) for at, one in enumerate(arrays)]
    return anchored.Case(op, given).region


def updates(kind: type) -> list[np.ndarray]:
    """A table, rows of it, what happens to them."""
    return [np.zeros((500, 64), kind), np.zeros((300, 1), np.int64), np.zeros((300, 64), kind)]


def upwards() -> list[np.ndarray]:
    """A line and what it is convolved with."""
    return [np.zeros((1, 32, 50), np.float16), np.zeros((32, 16, 4), np.float16)]


def recurring() -> list[np.ndarray]:
    """What a GRU of 64 units takes."""
    shapes = ((20, 4, 32), (192, 32), (192, 64), (192,), (192,), (4, 64))
    return [np.zeros(shape, np.float16) for shape in shapes]


def sampled() -> Iterator[tuple[str, CudaKernel]]:
    """A few kernels of each strategy."""
    some = {"add", "mixed", "causal", "gather-rows", "transpose-f32"}
    regions: list[tuple[object, Region, tuple[int, ...]]] = [
        *((pointwise.STRATEGY, case.region(), (0,)) for case in cases.POINTWISE if case.name in some),
        *((reduce.STRATEGY, case.region(), (0,)) for case in cases.ROW if case.name == "softmax-static"),
        (gemm.STRATEGIES[0], product(1024, 3072, 768), (0,)),
        (gemm.STRATEGIES[1], product(16, 4096, 4096), (0, -1)),
        (gemm.STRATEGIES[1], product(1, 4096, 4096), (0,)),
        (grouped.STRATEGY, group(*(product(64, 256, 256) for _ in range(24))), (0,)),
        (grouped.STRATEGY, group(product(64, 256, 256), product(200, 72, 1024)), (0, -1)),
        (boxes.STRATEGY, product(1024, 3072, 768), (9, -1)),
        (boxes.STRATEGY, product(128, 512, 4096), (1,)),
        (wave.STRATEGY, product(1000, 768, 3072), (0,)),
        (wave.STRATEGY, product(1024, 768, 3072, turned=True), (0,)),
        (boxes.STRATEGY, telling(), (-1,)),
        (boxes.STRATEGY, telling(768, 3072), (-1,)),
        (boxes.STRATEGY, standardised(), (0,)),
        (boxes.STRATEGY, paired(200, 264, 128, stands=True), (0,)),
        (boxes.STRATEGY, residual(200, 256, 768), (0,)),
        (whole.STRATEGY, few_keys(), (1,)),
        (running.STRATEGY, few_keys(), (0,)),
        (plain.STRATEGY, of(MatMul(), np.zeros((64, 96), np.float32), np.zeros((96, 64), np.float32)), (0, 1, 2, 3)),
        (paged.STRATEGY, pages(), (0,)),
        (pingpong.STRATEGY, many_keys(40, False), (0,)),
        (pingpong.STRATEGY, many_keys(160, True), (0,)),
        (stream.STRATEGY, matrix(2048, 2048), (0,)),
        (chain.STRATEGY, behind(4096, 2048), (0,)),
        (depthwise.STRATEGY, channels(), (0,)),
        (depthwise.STRATEGY, squeezed(), (0,)),
        (gated.STRATEGY, excited(), (0,)),
        *([(kept.STRATEGY, image(64, (56, 56), 64, 3, 1, 1), (0,))] if kept.LOOKS_FURTHER else []),
        (lines.STRATEGY, image(3, (62, 50), 64, 7, 2, 3), (0,)),
        (pooled.STRATEGY, pooled_image(3, (62, 50), 64, 7, 2, 3), (0,)),
        (expanded.STRATEGY, expanded_image(40, (28, 28), 240, 5, 2, told=True, count=1), (0,)),
        (boxes.STRATEGY, image(64, (8, 8), 128, 3, 1, 1, beside=True), (0,)),
        (columns.STRATEGY, images(), (0,)),
        *((sweeps.STRATEGY, case.region(), (0,)) for case in cases.ROW if case.name == "argmax-f32"),
        (scan.STRATEGY, of(Cumulative("sum", 0, exclusive=True), np.zeros(20000, np.int64)), (0, -1)),
        (scatter.STRATEGY, of(ScatterND("add"), *updates(np.float32)), (0, 1)),
        (scatter.STRATEGY, of(ScatterND("add"), *updates(np.int64)), (0,)),
        (scatter.STRATEGY, of(ScatterND(), *updates(np.float16)), (0,)),
        (sort.STRATEGY, of(TopK(9, 1), np.zeros((4, 100), np.float32)), (0, 1)),
        (transposed.STRATEGY, of(ConvTranspose((2,), (1,), (1,), (1,), (0,)), *upwards(), constants=1), (0,)),
        (recurrent.STRATEGY, of(GRU(64), *recurring(), constants=4), (0, 1, 2)),
    ]
    for strategy, region, which in regions:
        tactics = strategy.tactics(region, TARGET)  # type: ignore[attr-defined]
        assert not isinstance(tactics, Refusal), tactics.reason
        for one in which:
            yield str(tactics[one]), strategy.build(region, tactics[one], TARGET)  # type: ignore[attr-defined]


def every() -> Iterator[tuple[str, CudaKernel]]:
    """The sample, and of the device's table the first case of each Triton function that it lacks."""
    from tests.codegen.cuda.device import kernels_of
    from tests.codegen.cuda.staples import STAPLES
    from tests.codegen.cuda.table import TABLE

    known = set[str]()
    for name, kernel in sampled():
        known |= functions(kernel)
        yield name, kernel
    for entry in (*STAPLES(), *TABLE()):
        for name, kernel in kernels_of(entry, True):
            if not functions(kernel) <= known:
                known |= functions(kernel)
                yield name, kernel


def rounding() -> Iterator[tuple[str, CudaKernel]]:
    """Of the cases that are rounded to TF32 by turns the first and the last tactic."""
    from tests.codegen.cuda.rounded import ROUNDED

    for number, entry in enumerate(ROUNDED()):
        found = entry.strategy.tactics(entry.region, entry.target)
        assert not isinstance(found, Refusal), found.reason
        one = found[-(number % 2)]
        yield f"{entry.name} {one}", entry.strategy.build(entry.region, one, entry.target)


def functions(kernel: CudaKernel) -> set[str]:
    """The Triton functions of a kernel."""
    return {one.program.kernel for one in kernel.launches if isinstance(one.program, Program)}


def compile_all(kernels: Iterable[tuple[str, CudaKernel]]) -> dict[Path, str]:
    """Print a line for each kernel; all PTX so far."""
    arch = arch_of(TARGET)
    for name, kernel in kernels:
        for program in dict.fromkeys(one.program for one in kernel.launches if isinstance(one.program, Program)):
            binary = compile_program(program, arch.sm)
            assert binary.code.startswith(b"\x7fELF") and binary.shared <= arch.shared
            print(len(binary.code), binary.shared, len(binary.maps), name)
    return {path: path.read_text() for path in Path(os.environ["TRITON_CACHE_DIR"]).rglob("*.ptx")}


def main() -> None:
    print("triton", triton.__version__)
    texts = compile_all(every())
    rounds = [path.name for path, text in texts.items() if "tf32" in text]
    assert texts and not rounds, f"kernels that round to TF32: {rounds}"
    assert any(".m64n96k16." in text for text in texts.values())
    texts = compile_all(rounding())
    assert any(".m64n96k8.f32.tf32." in text for text in texts.values())
    kernels = sorted(Path(os.environ["TRITON_CACHE_DIR"]).rglob("*.ttgir"))
    shared = {path.stem: found for path in kernels if (found := given_away(path))}
    assert kernels and not shared, f"barriers in memory that is something else's, too: {shared}"


if __name__ == "__main__":
    main()
