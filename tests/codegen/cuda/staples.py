"""The kernels that networks live on, for the table of the device: elementwise work, rows, products by tensor cores,
convolutions, attention, chains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tenfold.codegen.cuda import (
    attention,
    chain,
    columns,
    gemm,
    moments,
    paged,
    paired,
    pointwise,
    reduce,
    spread,
    stream,
    vector,
    vendor,
    window,
)
from tenfold.codegen.cuda.conv import boxes, depthwise, implicit, library, spanned, wave
from tenfold.codegen.region import Anchored, Chain, Operand, Region, Row, identity
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops import activation, arithmetic
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Constant
from tenfold.ops.matmul import MatMul
from tenfold.ops.moments import LineSums, Moments
from tests.codegen.cpu import cases
from tests.codegen.cpu.cases import body, tensor
from tests.codegen.cpu.cases import spread as over
from tests.codegen.cuda import compiling, table
from tests.codegen.cuda.expansions import expansions
from tests.codegen.cuda.table import Entry, image


def elementwise() -> Iterator[Entry]:
    """One vector after another, a row beside a matrix, transposed, gathered."""
    shape = (997, 1003)
    wide = [tensor(dt.f16, shape) for _ in range(2)]
    row = over(tensor(dt.f16, shape[1:]), shape)
    made = {
        "add": cases._add((1000003,), *(tensor(dt.f32, (1000003,)) for _ in range(2))),
        "add a row": replace(cases._add(shape, wide[0], row), outputs=(tensor(dt.f16, shape),)),
        "transposed": cases._moved(shape, (1, 0), dt.f16)(),
        "channels last": cases._moved((2, 30, 7, 129), (0, 3, 1, 2), dt.f32)(),
        "copied": cases._copy(shape, tensor(dt.u8, shape), dt.u8),
    }
    gelu = body([dt.f16] * 2, (arithmetic.Add(), (0, 1), dt.f16), (activation.Gelu(), (2,), dt.f16))
    made["gelu"] = replace(made["add a row"], body=gelu, inputs=(wide[0], row))
    for name, region in made.items():
        yield Entry(f"pointwise {name}", pointwise.STRATEGY, region, 2e-3, most=2)


def reduced() -> Iterator[Entry]:
    """Rows that fit registers, rows over the whole machine, rows whose elements lie apart, windows."""
    made: tuple[tuple[str, Any, Region], ...] = (
        ("softmax", reduce.STRATEGY, cases._softmax((999, 1024), dtype=dt.f16)),
        ("layer norm", reduce.STRATEGY, cases._layer_norm((333, 768))),
        ("spread", spread.STRATEGY, cases._layer_norm((64, 40960))),
        ("columns", columns.STRATEGY, compiling.images()),
        ("window", window.STRATEGY, _windows((2, 64, 27, 27), 56)),
        ("moments", moments.STRATEGY, _told((3, 50, 64))),
        ("sums of lines", moments.STRATEGY, _lines((2, 24, 9, 20))),
    )
    for name, strategy, region in made:
        yield Entry(f"rows {name}", strategy, region, 2e-3, most=2)


def products() -> Iterator[Entry]:
    """Tiles by tensor cores, slices, one row, moments told and used."""
    persistent, sliced = gemm.STRATEGIES
    made: tuple[tuple[str, Any, Region, int], ...] = (
        ("persistent 1024x768x3072", persistent, compiling.product(1024, 768, 3072), 3),
        ("persistent odd", persistent, compiling.product(200, 264, 72), 3),
        ("sliced 16x4096x4096", sliced, compiling.product(16, 4096, 4096), 3),
        ("sliced odd", sliced, compiling.product(30, 72, 520), 3),
        ("boxes 1024x3072x768", boxes.STRATEGY, compiling.product(1024, 3072, 768), 6),
        ("boxes 1024x768x3072", boxes.STRATEGY, compiling.product(1024, 768, 3072), 6),
        ("boxes odd", boxes.STRATEGY, _beside(197, 768, 768), 6),
        ("wave 1024x768x3072", wave.STRATEGY, compiling.product(1024, 768, 3072), 8),
        ("wave turned 1000x768x3000", wave.STRATEGY, compiling.product(1000, 768, 3000, turned=True), 8),
        (
            "wave that tells",
            wave.STRATEGY,
            replace(compiling.product(1024, 768, 768), moments=tensor(dt.f32, (2, 12, 1024))),
            8,
        ),
        ("wave odd", wave.STRATEGY, _beside(999, 744, 768), 8),
        ("boxes of halves", boxes.STRATEGY, compiling.paired(4096, 1280, 320), 20),
        ("boxes of odd halves", boxes.STRATEGY, compiling.paired(197, 200, 72, turned=True), 20),
        ("paired odd", paired.STRATEGY, compiling.paired(197, 200, 72), 4),
        ("boxes that tell", boxes.STRATEGY, compiling.telling(), 2),
        ("stream", stream.STRATEGY, compiling.matrix(4096, 2048), 3),
        ("vector", vector.STRATEGY, compiling.matrix(4096, 2048), 3),
        ("cublas 1024x768x3072", vendor.STRATEGY, compiling.product(1024, 768, 3072), 3),
        ("chain", chain.STRATEGY, _chain(2048), 2),
    )
    for name, strategy, region, most in made:
        yield Entry(f"product {name}", strategy, region, 4e-3, most=most)
    for m, n in ((1000, 768), (64, 4096)):
        region = _beside(m, n, 3072)
        more = table.slices_by(region, "cluster")
        yield Entry(f"product cluster beside {m}x{n}", boxes.STRATEGY, region, 4e-3, most=1, more=more)
    standing = {"product boxes that standardise": compiling.standardised()}
    standing["product boxes of halves that stand"] = compiling.paired(200, 264, 128, stands=True)
    standing["product wave that stands"] = compiling.standardised(1000, 768, 768)
    for title, region in standing.items():
        assert isinstance(region, Anchored)
        told = (one for one in region.extra if one.dtype is dt.f32)
        sums = {one.value: np.random.default_rng(4).uniform(5, 10, (region.domain[0], 1)) for one in told}
        yield Entry(
            title,
            wave.STRATEGY if "wave" in title else boxes.STRATEGY,
            region,
            4e-3,
            sums,
            most=20 if "halves" in title else 2,
        )


def convolutions() -> Iterator[Entry]:
    """By boxes, by addresses, by spans, a channel a group."""
    ways = (("boxes", boxes.STRATEGY), ("implicit", implicit.STRATEGY), ("cudnn", library.STRATEGY))
    for name, strategy in ways:
        yield Entry(f"conv {name} 3x3", strategy, image(64, (28, 28), 128, 3, 1, 1), 2e-3, most=3)
        yield Entry(f"conv {name} 3x3 by two", strategy, image(64, (28, 28), 64, 3, 2, 1), 2e-3, most=3)
        yield Entry(f"conv {name} 1x1", strategy, image(64, (14, 14), 256, 1, 1, 0), 2e-3, most=3)
    yield Entry("conv spanned", spanned.STRATEGY, image(3, (31, 33), 32, 3, 2, 1), 2e-3, most=3)
    yield Entry("conv depthwise", depthwise.STRATEGY, compiling.channels(), 2e-3, most=3)
    yield Entry("conv depthwise that tells", depthwise.STRATEGY, compiling.squeezed(), 2e-3, most=3)


def attentions() -> Iterator[Entry]:
    """Flash, one query, causal, pages."""
    made = {
        "flash": table.attention(2, 12, 128, 128),
        "flash odd": table.attention(2, 3, 77, 197, dtype=dt.bf16),
        "one query": table.attention(1, 32, 1, 1025, shared=4),
        "causal": replace(table.attention(1, 3, 200, 333, width=48), anchor=Attention(0.14, causal=True, offset=133)),
    }
    for name, region in made.items():
        yield Entry(f"attention {name}", attention.STRATEGY, region, 2e-2 if "odd" in name else 3e-3, most=3)
    region = compiling.pages()
    assert isinstance(region, Anchored)
    rows, lengths = region.inputs[3:]
    arrays = {
        rows.value: np.random.default_rng(5).integers(0, 99, (2, 64)).astype(np.int32),
        lengths.value: np.array([1024, 17], np.int32),
    }
    yield Entry("attention paged", paged.STRATEGY, region, 3e-3, arrays, most=2)


def STAPLES() -> list[Entry]:
    """All cases."""
    return [one for part in (elementwise, reduced, products, convolutions, expansions, attentions) for one in part()]


def _windows(shape: tuple[int, int, int, int], size: int) -> Region:
    """The greatest of three by three, a step of two apart, in images that are stored channels last."""
    region = cases._reduce("max", dt.f16, (*shape, 3, 3), 2)()
    assert isinstance(region, Row)
    count, line = shape[1], size * shape[1]
    strides = (size * line, 1, 2 * line, 2 * count, line, count)
    return replace(region, inputs=(replace(region.inputs[0], strides=strides),))


def _told(shape: tuple[int, int, int]) -> Region:
    x, told = tensor(dt.f16, shape), tensor(dt.f32, (2, shape[2] // 32, *shape[:2]))
    return Anchored(told.shape, (told,), Moments(32), (x,), identity(dt.f32))


def _lines(shape: tuple[int, int, int, int]) -> Region:
    images, channels, high, wide = shape
    x = replace(tensor(dt.f16, shape), strides=(high * wide * channels, 1, wide * channels, channels))
    told = tensor(dt.f32, (images, high, channels))
    return Anchored(told.shape, (told,), LineSums(), (x,), identity(dt.f32))


def _chain(n: int) -> Region:
    """Two products of a row, one behind the other."""
    made = []
    a: Operand = tensor(dt.f16, (1, n))
    for seed in range(2):
        w, c = replace(tensor(dt.f16, (n, n)), value=_matrix(n, seed)), tensor(dt.f16, (1, n))
        made.append(Anchored((1, n), (c,), MatMul(), (a, w), identity(dt.f16)))
        a = c
    return Chain((1, n), tuple(one for part in made for one in part.outputs), tuple(made))


def _matrix(n: int, seed: int) -> Value:
    return Constant(Tensor(table.random(dt.f16, n, n, seed=seed, scale=n**-0.5)))()


def _beside(m: int, n: int, k: int) -> Region:
    """A product with a row, an activation and a residual."""
    a, b, c, residual = (tensor(dt.f16, shape) for shape in ((m, k), (k, n), (m, n), (m, n)))
    row = over(tensor(dt.f16, (n,)), (m, n))
    add = arithmetic.Add()
    what = body([dt.f16] * 3, (add, (0, 1), dt.f16), (activation.Gelu(), (3,), dt.f16), (add, (4, 2), dt.f16))
    return Anchored((m, n), (c,), MatMul(), (a, b), what, (row, residual))
