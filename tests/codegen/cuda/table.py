"""The cases that kernels are held to on a GPU: of each family the sizes that networks have, and awkward ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tenfold.codegen.cuda import (
    grouped,
    pingpong,
    plain,
    recurrent,
    running,
    scan,
    scatter,
    sort,
    suppress,
    sweeps,
    whole,
)
from tenfold.codegen.cuda.conv import boxes, gated, kept, lines, pooled, transposed
from tenfold.codegen.region import Anchored, Body, Chain, Instruction, Operand, Phase, Pointwise, Region, Row, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.activation import Relu
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv, ConvTranspose, Gated
from tenfold.ops.index import ScatterElements, ScatterND
from tenfold.ops.logic import Cast
from tenfold.ops.matmul import MatMul
from tenfold.ops.moments import Moments, Standardise
from tenfold.ops.recurrent import GRU, LSTM, RNN, Recurrent
from tenfold.ops.reduce import Cumulative
from tenfold.ops.sort import Suppression, TopK
from tenfold.target import Target
from tests.codegen.cpu import cases
from tests.codegen.cpu.anchored import Case, Given
from tests.codegen.cpu.checking import fill

TARGET = Target("cuda", "sm_90")


@dataclass(frozen=True, eq=False)
class Entry:
    """A region, who builds it, what lies in its inputs (`arrays`, else random elements); the first `most` tactics and
    `more` are run.
    """

    name: str
    strategy: Any
    region: Region
    tolerance: float
    arrays: Mapping[Value, np.ndarray] = field(default_factory=dict)
    most: int = 0
    more: tuple[Tactic, ...] = ()
    special: bool = False
    target: Target = TARGET

    def fill(self, dtype: DType, size: int, rng: np.random.Generator) -> np.ndarray:
        """Random elements."""
        case = cases.Case(self.name, lambda: self.region, low=-1.2, high=1.2, special=self.special)
        return fill(dtype, size, case, rng)


def of_case(name: str, strategy: Any, case: Case, tolerance: float, **more: Any) -> Entry:
    """An entry of a case of one operation."""
    return Entry(name, strategy, case.region, tolerance, case.arrays, **more)


def random(dtype: DType, *shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Normal numbers, or small integers."""
    rng = np.random.default_rng([seed, *shape])
    if dtype.is_float:
        return (scale * rng.standard_normal(shape)).astype(np.float32).astype(dtype.numpy)
    low = 0 if dtype.kind is dt.Kind.UINT else -9
    return rng.integers(low, 10, shape).astype(dtype.numpy) if dtype is not dt.boolean else rng.random(shape) < 0.5


def rows() -> Iterator[Entry]:
    """Long rows."""
    strategy = sweeps.STRATEGY
    made: tuple[tuple[str, Callable[[], Region], float, bool], ...] = (
        ("softmax 8x50257", lambda: cases._softmax((8, 50257)), 1e-5, False),
        ("softmax 4096x500", lambda: cases._softmax((4096, 500), dtype=dt.f16), 2e-3, False),
        ("layer norm 64x40961", lambda: cases._layer_norm((64, 40961)), 1e-4, False),
        ("sum 1x9999999", cases._reduce("sum", dt.f32, (1, 9999999), 1), 1e-4, False),
        ("max 4x300001", cases._reduce("max", dt.f32, (4, 300001), 1), 0, True),
        ("prod 3x70000", cases._reduce("prod", dt.i64, (3, 70000), 1), 0, False),
        ("argmax 8x50257", cases._reduce("argmax", dt.f32, (8, 50257), 1), 0, False),
        ("argmin last 8x20000", cases._reduce("argmin_last", dt.i32, (8, 20000), 1), 0, False),
        ("argmax special 8x20000", cases._reduce("argmax", dt.f16, (8, 20000), 1), 0, True),
        ("any 5x40000", cases._reduce("any", dt.boolean, (5, 40000), 1), 0, False),
        ("sum i8 5x40000", cases._reduce("sum", dt.i8, (5, 40000), 1), 0, False),
        ("sum columns 33x30000", cases._reduce("sum", dt.f32, (33, 30000), 1, (1, 0)), 1e-4, False),
    )
    for name, region, tolerance, special in made:
        yield Entry(f"row {name}", strategy, region(), tolerance, special=special, most=5)


def scans() -> Iterator[Entry]:
    """Running sums and extremes."""
    made: tuple[tuple[Cumulative, DType, tuple[int, ...], float], ...] = (
        (Cumulative("sum", 1), dt.f32, (64, 4099), 1e-5),
        (Cumulative("sum", 0), dt.i64, (1000003,), 0),
        (Cumulative("sum", 0, True, True), dt.f32, (300001,), 1e-4),
        (Cumulative("prod", 1, True), dt.f64, (3, 5000), 1e-12),
        (Cumulative("max", 1, False, True), dt.f16, (8, 20000), 0),
        (Cumulative("min", 0), dt.i8, (4000, 300), 0),
        (Cumulative("sum", 1), dt.f32, (4, 3000, 96), 1e-5),
    )
    for op, dtype, shape, tolerance in made:
        word = f"{op.kind} {op.axis}{' exclusive' * op.exclusive}{' reverse' * op.reverse}"
        name = f"scan {word} {dtype} {'x'.join(map(str, shape))}"
        yield of_case(name, scan.STRATEGY, Case(op, [Given(random(dtype, *shape))]), tolerance, most=5)


def scattered() -> Iterator[Entry]:
    """Scattering: a cache's rows, embeddings' sums, lines."""

    def nd(reduction: Any, dtype: DType, shape: tuple[int, ...], count: int, depth: int) -> Case:
        rng = np.random.default_rng(count)
        at = np.stack([rng.integers(-size, size, count) for size in shape[:depth]], axis=-1)
        updates = random(dtype, count, *shape[depth:], seed=1)
        return Case(ScatterND(reduction), [Given(random(dtype, *shape)), Given(at), Given(updates)])

    def along(reduction: Any, dtype: DType, shape: tuple[int, ...], inner: tuple[int, ...], axis: int) -> Case:
        at = np.random.default_rng(3).integers(-shape[axis], shape[axis], inner)
        given = [random(dtype, *shape), at, random(dtype, *inner, seed=1)]
        return Case(ScatterElements(axis, reduction), [Given(one) for one in given])

    made = (
        ("ND none f32 4096x768 by 8", nd("none", dt.f32, (4096, 768), 8, 1), 0),
        ("ND none f16 4096x768 by 5000", nd("none", dt.f16, (4096, 768), 5000, 1), 0),
        ("ND none bool 1000000 by 300000", nd("none", dt.boolean, (1000000,), 300000, 1), 0),
        ("ND add f32 2000x64 by 20000", nd("add", dt.f32, (2000, 64), 20000, 1), 1e-6),
        ("ND add bf16 50x60x7 by 3000", nd("add", dt.bf16, (50, 60, 7), 3000, 2), 0),
        ("ND max f32 5000 by 30000", nd("max", dt.f32, (5000,), 30000, 1), 0),
        ("ND add i64 5000 by 30000", nd("add", dt.i64, (5000,), 30000, 1), 0),
        ("ND min i32 100x100 by 9000", nd("min", dt.i32, (100, 100), 9000, 2), 0),
        ("elements none f32 64x1000", along("none", dt.f32, (64, 1000), (64, 1500), 1), 0),
        ("elements add f32 64x1000", along("add", dt.f32, (64, 1000), (64, 1500), 1), 1e-6),
        ("elements mul f64 300x4096", along("mul", dt.f64, (300, 4096), (40, 4096), 0), 1e-14),
        ("elements add u32 20x3000", along("add", dt.u32, (20, 3000), (20, 3000), 1), 0),
    )
    for name, case, tolerance in made:
        yield of_case(f"scatter {name}", scatter.STRATEGY, case, tolerance)
    relu = Body((dt.f32,), (Instruction(Relu(), (0,), dt.f32),), (1,))
    case = nd("none", dt.f32, (300, 40), 100, 1)
    region = replace(case.region, body=relu)
    yield Entry("scatter ND with a body", scatter.STRATEGY, region, 0, case.arrays)


def sorted_() -> Iterator[Entry]:
    """Orders."""
    made: tuple[tuple[DType, tuple[int, ...], int, int, bool], ...] = (
        (dt.f32, (8, 50257), 50, 1, True),
        (dt.f16, (1, 25200), 300, 1, True),
        (dt.f32, (64, 1000), 5, 1, True),
        (dt.f32, (3, 2000), 2000, 1, False),
        (dt.i32, (5, 777, 3), 20, 1, False),
        (dt.u32, (4, 3000), 9, 1, True),
        (dt.i64, (2, 9000), 9000, 1, False),
        (dt.f64, (3, 1000), 1000, 1, True),
        (dt.u8, (300, 130), 130, 1, True),
        (dt.boolean, (7, 64), 10, 1, True),
    )
    for dtype, shape, k, axis, largest in made:
        x = random(dtype, *shape)
        if dtype.is_float:
            x.reshape(-1)[::97] = np.nan
            x.reshape(-1)[::89] = -0.0
        case = Case(TopK(k, axis, largest), [Given(x)])
        yield of_case(f"sort {dtype} {shape} {k} {largest}", sort.STRATEGY, case, 0)


def transposes() -> Iterator[Entry]:
    """Transposed convolutions."""

    def made(op: ConvTranspose, dtype: DType, x: Sequence[int], w: Sequence[int], layout: str = "last") -> Case:
        weights = Given(random(dtype, *w, seed=2, scale=0.1), constant=True)
        return Case(op, [Given(random(dtype, *x), layout), weights], [layout])

    two = ConvTranspose((2, 2), (1, 1), (1, 1), (1, 1), (0, 0))
    for dtype, tolerance in ((dt.f16, 3e-3), (dt.bf16, 2e-2), (dt.f32, 1e-5)):
        name = f"transposed 256 to 128, 28x28 {dtype}"
        case = made(two, dtype, (4, 256, 28, 28), (256, 128, 4, 4))
        yield of_case(name, transposed.STRATEGY, case, tolerance, most=6)
    two_by_two = ConvTranspose((2, 2), (1, 1), (0, 0), (0, 0), (0, 0))
    yield of_case("transposed 64 to 32, 2x2", transposed.STRATEGY,
                  made(two_by_two, dt.f16, (2, 64, 60, 61), (64, 32, 2, 2), "dense"), 3e-3)  # fmt: skip
    deep = ConvTranspose((2, 2, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1))
    yield of_case("transposed 3-D", transposed.STRATEGY,
                  made(deep, dt.f16, (1, 32, 8, 9, 10), (32, 16, 3, 3, 3)), 3e-3)  # fmt: skip
    grouped = ConvTranspose((2, 1), (1, 2), (0, 1), (1, 0), (0, 0), 4)
    yield of_case("transposed in groups", transposed.STRATEGY,
                  made(grouped, dt.f32, (2, 32, 20, 20), (32, 8, 3, 3)), 1e-5)  # fmt: skip
    along = ConvTranspose((8,), (1,), (4,), (4,), (0,))
    yield of_case("transposed 1-D by 8", transposed.STRATEGY, made(along, dt.f32, (1, 128, 500), (128, 64, 16)), 1e-5)


def products() -> Iterator[Entry]:
    """Products without tensor cores."""
    for dtype, tolerance in ((dt.f64, 1e-13), (dt.f32, 1e-6), (dt.i32, 0), (dt.i64, 0), (dt.i8, 0)):
        for shape, other in (((300, 257), (257, 130)), ((7, 4, 65), (7, 65, 33)), ((1, 1000), (1000, 999))):
            case = Case(MatMul(), [Given(random(dtype, *shape)), Given(random(dtype, *other, seed=1))])
            name = f"plain {dtype} {'x'.join(map(str, shape))} by {other[-1]}"
            yield of_case(name, plain.STRATEGY, case, tolerance, most=4)


def group(*parts: Anchored) -> Chain:
    """Products that do not wait for each other."""
    return Chain(parts[-1].domain, tuple(one for part in parts for one in part.outputs), parts)


def groups() -> Iterator[Entry]:
    """Products in one launch: of one shape, of few rows, of unlike sizes."""

    def product(m: int, n: int, k: int) -> Anchored:
        a, b, c = (cases.tensor(dt.f16, shape) for shape in ((m, k), (k, n), (m, n)))
        return Anchored((m, n), (c,), MatMul(), (a, b), identity(dt.f16))

    made = (
        ("24 of 64x256x256", [(64, 256, 256)] * 24),
        ("8 of 16x1024x512", [(16, 1024, 512)] * 8),
        ("unlike", [(200, 72, 40), (7, 136, 264), (130, 1000, 136)]),
    )
    for name, shapes in made:
        yield Entry(f"grouped {name}", grouped.STRATEGY, group(*(product(*one) for one in shapes)), 2e-3, most=12)


def residual(m: int, n: int, k: int, group: int = 32) -> Anchored:
    """A product to which rows are added that are standardised, scaled and shifted there; it tells its own moments."""
    a, b, x, y = (cases.tensor(dt.f16, shape) for shape in ((m, k), (k, n), (m, n), (m, n)))
    parts = n // group
    before, told = (cases.tensor(dt.f32, (2, parts, m)) for _ in range(2))
    rows = [Operand(before.value, dt.f32, (m, n), (1, 0), part * m) for part in range(2 * parts)]
    columns = [replace(cases.tensor(dt.f16, (n,)), shape=(m, n), strides=(0, 1)) for _ in range(2)]
    inputs, first = [dt.f16, dt.f16, *[dt.f32] * len(rows), dt.f16, dt.f16], len(rows) + 4
    what = cases.body(
        inputs,
        (Standardise(n, 1e-6), tuple(range(1, first - 2)), dt.f16),
        (Mul(), (first, first - 2), dt.f16),
        (Add(), (0, first - 1), dt.f16),
        (Add(), (first + 2, first + 1), dt.f16),
    )
    extra = (x, *rows, *columns)
    return Anchored((m, n), (y,), MatMul(), (a, b), what, extra, moments=told)


def norms() -> Iterator[Entry]:
    """Residuals standardised where they are added, of rows whose mean is up to twenty deviations off."""
    for (m, n, k), mean in (((8192, 768, 768), 0.0), ((1000, 768, 3072), 5.0), ((128, 768, 256), -20.0),
                            ((128, 768, 3072), 5.0)):  # fmt: skip
        region = residual(m, n, k, 64 if m > 512 else 32)
        x = (random(dt.f16, m, n).astype(np.float32) + mean).astype(np.float16)
        told = Moments(64 if m > 512 else 32).evaluate(x)
        given = {region.extra[0].value: x, region.extra[1].value: told}
        more = slices_by(region, "cluster")
        yield Entry(f"norm {m}x{n}x{k} {mean:+}", boxes.STRATEGY, region, 2e-3, given, most=8, more=more)


def suppressions() -> Iterator[Entry]:
    """Boxes of detectors, as many chosen as there is room for, so that the whole table is filled."""
    rng = np.random.default_rng(8)
    sizes = ((1, 80, 1000, 0.5), (2, 3, 8000, 0.9), (1, 80, 8400, 0.9), (1, 1, 25200, 0.9))
    for images, classes, count, least in sizes:
        corner = rng.uniform(0, 600, (images, count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(1, 60, corner.shape)], axis=2).astype(np.float32)
        scores = rng.random((images, classes, count)).astype(np.float32)
        limits = [np.array(5), np.array(0.4, np.float32), np.array(least, np.float32)]
        case = Case(Suppression(5), [Given(boxes), Given(scores), *map(Given, limits)])
        yield of_case(f"suppress {images}x{classes}x{count}", suppress.STRATEGY, case, 0)


def cells() -> Iterator[Entry]:
    """Recurrent cells."""
    made: tuple[tuple[Recurrent, DType, int, int, int, float], ...] = (
        (LSTM(128), dt.f32, 32, 1, 64, 1e-5),
        (LSTM(256, reverse=True), dt.f16, 80, 8, 512, 3e-3),
        (LSTM(512, peepholes=True, clip=3.0), dt.f32, 40, 4, 256, 1e-5),
        (LSTM(100, lengths=True), dt.bf16, 30, 33, 40, 3e-2),
        (GRU(256), dt.f16, 64, 2, 256, 3e-3),
        (GRU(96, linear_before_reset=True, reverse=True), dt.f32, 50, 40, 80, 1e-5),
        (RNN(64), dt.f32, 100, 3, 20, 1e-5),
    )
    for op, dtype, t, n, terms, tolerance in made:
        h, gates = op.hidden, op.gates
        shapes = [(gates * h, terms), (gates * h, h), *[(gates * h,)] * op.biases]
        weights = [Given(random(dtype, *one, seed=k, scale=0.1), constant=True) for k, one in enumerate(shapes)]
        states = [Given(random(dtype, n, h, seed=9 + k)) for k in range(op.states)]
        more = [Given(random(dtype, *map(int, one), seed=20)) for one in op.extra()]
        lengths = [Given(np.random.default_rng(3).integers(0, t + 1, n).astype(np.int32))] if op.lengths else []
        case = Case(op, [Given(random(dtype, t, n, terms)), *weights, *states, *more, *lengths])
        word = f"{op.name} {op.hidden}{' reverse' * op.reverse}{' lengths' * op.lengths}"
        name = f"cell {word} {dtype} {t}x{n}x{terms}"
        yield of_case(name, recurrent.STRATEGY, case, tolerance, most=3)


def image(channels: int, size: tuple[int, int], n: int, taps: int, step: int, pad: int, *, count: int = 2,
          beside: bool = False, dtype: DType = dt.f16) -> Region:  # fmt: skip
    """A convolution of images that are stored channels last if there are many; a row of numbers is added to it, and one
    for each image if `beside`.
    """
    out = tuple((one + 2 * pad - taps) // step + 1 for one in size)
    x, y = cases.tensor(dtype, (count, channels, *size)), cases.tensor(dt.f16, (count, n, *out))
    if channels > 8:
        x = replace(x, strides=(channels * size[0] * size[1], 1, channels * size[1], channels))
    y = replace(y, strides=(n * out[0] * out[1], 1, n * out[1], n))
    weights = Constant(Tensor(random(dt.f16, n, channels, taps, taps, scale=(channels * taps * taps) ** -0.5)))()
    rows = [replace(cases.tensor(dt.f16, (n,)), shape=y.shape, strides=(0, 1, 0, 0))]
    if beside:
        rows.append(replace(cases.tensor(dt.f16, (count, n)), shape=y.shape, strides=(n, 1, 0, 0)))
    added = tuple(Instruction(Add(), (at and len(rows) + at, at + 1), dt.f16) for at in range(len(rows)))
    last = 2 * len(rows)
    body = Body((dt.f16,) * (1 + len(rows)), (*added, Instruction(Relu(), (last,), dt.f16)), (last + 1,))
    w = replace(cases.tensor(dt.f16, (n, channels, taps, taps)), value=weights)
    op = Conv((step, step), (1, 1), (pad, pad), (pad, pad))
    return Anchored(y.shape, (y,), op, (x, w), body, extra=tuple(rows))


def gates() -> Iterator[Entry]:
    """Images times one number a channel, where a convolution of one tap reads them."""
    for count, channels, size, n in ((3, 96, 56, 24), (2, 40, 13, 70)):
        shapes = ((count, channels, size, size), (n, channels, 1, 1), (count, channels, 1, 1))
        x, w, gate = (random(dt.f16, *shape, seed=at, scale=0.3) for at, shape in enumerate(shapes))
        case = Case(Gated(), [Given(x, "last"), Given(w, constant=True), Given(gate)], ["last"])
        yield of_case(f"gated {channels} to {n}, {size}x{size}", gated.STRATEGY, case, 3e-3, most=2)


def convolutions() -> Iterator[Entry]:
    """First layers, and numbers of each image beside the sums."""
    first = (
        ("7x7 of 3", image(3, (62, 50), 64, 7, 2, 3)),
        ("7x7 of 3, odd", image(3, (61, 47), 64, 7, 2, 3)),
        ("3x3 of 3", image(3, (64, 64), 32, 3, 2, 1)),
        ("3x3 of 3, 16 columns", image(3, (32, 30), 16, 3, 2, 1)),
        ("4x4 of 3, 96 columns", image(3, (64, 64), 96, 4, 4, 0)),
        ("3x3 of 4, step 1", image(4, (16, 18), 120, 3, 1, 1)),
    )
    for name, region in first:
        yield Entry(f"conv first {name}", lines.STRATEGY, region, 2e-3, most=7)
    moments = (("8x8", image(64, (8, 8), 128, 3, 1, 1, beside=True)),
               ("16x16", image(128, (16, 16), 64, 3, 1, 1, beside=True)),
               ("4x4", image(64, (4, 4), 72, 3, 1, 1, beside=True, count=3)))  # fmt: skip
    for name, region in (("24x16", image(64, (24, 16), 64, 3, 1, 1)), ("9x7, 24", image(64, (9, 7), 24, 3, 1, 1)),
                         ("17x20, 128", image(64, (17, 20), 128, 3, 1, 0))):  # fmt: skip
        yield Entry(f"conv kept {name}", kept.STRATEGY, region, 2e-3, most=3)
    for name, region in moments:
        yield Entry(f"conv moment {name}", boxes.STRATEGY, region, 2e-3, most=8)
    ended = (("7x7 of 512", image(512, (7, 7), 512, 3, 1, 1, count=1)),
             ("14x14 of 256, moment", image(256, (14, 14), 256, 3, 1, 1, count=1, beside=True)),
             ("197 of 3072", image(3072, (1, 197), 768, 1, 1, 0, count=1)))  # fmt: skip
    for name, region in ended:
        yield Entry(f"conv together {name}", boxes.STRATEGY, region, 2e-3, most=1, more=slices_by(region, "together"))
    clusters = (*ended[1:], ("14x14 of 256, moment, four", image(256, (14, 14), 256, 3, 1, 1, count=4, beside=True)),
                ("1000 of 3072", image(3072, (1, 1000), 768, 1, 1, 0, count=1)),
                ("64 of 4096", image(4096, (1, 64), 4096, 1, 1, 0, count=1)))  # fmt: skip
    for name, region in clusters:
        yield Entry(f"conv cluster {name}", boxes.STRATEGY, region, 2e-3, most=1, more=slices_by(region, "cluster"))


def slices_by(region: Region, how: str) -> tuple[Tactic, ...]:
    """Tactics by which slices share a tile."""
    found = boxes.STRATEGY.tactics(region, TARGET)
    assert not isinstance(found, Refusal)
    return tuple(one for one in found if how in dict(one.parameters))


def pooled_image(channels: int, size: tuple[int, int], n: int, taps: int, step: int, pad: int, *, count: int = 2,
                 most: int = 3, before: int = 1, upwards: bool = False, layers: bool = True,
                 cast: bool = False) -> Region:  # fmt: skip
    """A convolution as `image` has it, and the greatest of `most` lines and columns of its results, two apart, from
    `before` the first on; `upwards`: with a last one that is not whole. Not `layers`: without its last operation.
    `cast`: of images in f32.
    """
    made = image(channels, size, n, taps, step, pad, count=count)
    assert isinstance(made, Anchored)
    sizes = [int(one) for one in made.domain[2:]]
    counts = [(one + 2 * before - most + upwards) // 2 + 1 for one in sizes]
    high, wide = (max((one - 1) * 2 + most, size + before) for one, size in zip(counts, sizes, strict=True))
    root = cases.tensor(dt.f16, (count, n, high, wide)).value
    steps = (high * wide * n, 1, wide * n, n)
    body = made.body if layers else Body(made.body.inputs, made.body.code[:1], (2,))
    inner = Operand(root, dt.f16, made.domain, steps, before * (steps[2] + n))
    convolution = replace(made, outputs=(inner,), body=body)
    fills = []
    edges = ((0, 0, before, wide), (before, 0, sizes[0], before), (before, before + sizes[1], *sizes),
             (before + sizes[0], 0, high, wide))  # fmt: skip
    for top, left, down, along in edges:
        shape = (count, min(down, high - top), min(along, wide - left), n)
        if min(shape) > 0:
            least = Constant(Tensor(np.full(shape, -np.inf, np.float16)))()
            to = Operand(root, dt.f16, shape, (steps[0], *steps[2:], 1), top * steps[2] + left * n)
            fills.append(
                Pointwise(shape, (to,), (replace(cases.tensor(dt.f16, shape), value=least),), identity(dt.f16))
            )
    domain = (count, *counts, n, most, most)
    read = Operand(root, dt.f16, domain, (steps[0], 2 * steps[2], 2 * n, 1, steps[2], n))
    y = cases.tensor(dt.f16, (count, *counts, n, 1, 1))
    y = replace(y, shape=domain, strides=(*y.strides[:4], 0, 0))
    one = identity(dt.f16)
    last = Row(domain, (), reduced=2, inputs=(read,), phases=(Phase(one, "max"),), body=None, finish=one,
               finish_outputs=(y,))  # fmt: skip
    parts = (convolution, *fills, last)
    if not cast:
        return Chain(domain, (y,), parts, within=(inner,))
    x = made.inputs[0]
    narrow = Body((dt.f32,), (Instruction(Cast(dt.f16), (0,), dt.f16),), (1,))
    first = Pointwise(x.shape, (x,), (cases.tensor(dt.f32, x.shape),), narrow)
    return Chain(domain, (y,), (first, *parts), within=(x, inner))


def pools() -> Iterator[Entry]:
    """First layers and the greatest of their results."""
    made = (
        ("7x7 of 3", pooled_image(3, (62, 50), 64, 7, 2, 3)),
        ("7x7 of 3, odd", pooled_image(3, (61, 47), 64, 7, 2, 3, count=3)),
        ("7x7 of 3, without padding", pooled_image(3, (61, 53), 64, 7, 2, 0, before=0)),
        ("7x7 of 3, upwards", pooled_image(3, (63, 55), 64, 7, 2, 3, before=0, upwards=True, count=3)),
        ("7x7 of 3, two of two", pooled_image(3, (62, 50), 64, 7, 2, 3, most=2, before=0)),
        ("7x7 of 3, no Relu", pooled_image(3, (30, 46), 64, 7, 2, 3, layers=False, count=5)),
        ("3x3 of 3, 24 columns", pooled_image(3, (64, 66), 24, 3, 2, 1)),
        ("5x5 of 1, 16 columns, step 1", pooled_image(1, (28, 28), 16, 5, 1, 2, most=2, before=0, count=40)),
        ("4x4 of 2, 128 columns, step 4", pooled_image(2, (64, 60), 128, 4, 4, 0)),
        ("7x7 of 3, cast", pooled_image(3, (61, 50), 64, 7, 2, 3, cast=True)),
        ("7x7 of 3, cast, odd", pooled_image(3, (61, 47), 64, 7, 2, 3, count=3, cast=True)),
        ("ResNet, cast", pooled_image(3, (224, 224), 64, 7, 2, 3, count=3, cast=True)),
        ("ResNet, one", pooled_image(3, (224, 224), 64, 7, 2, 3, count=1)),
        ("ResNet, three", pooled_image(3, (224, 224), 64, 7, 2, 3, count=3)),
    )
    for name, region in made:
        yield Entry(f"pooled {name}", pooled.STRATEGY, region, 2e-3, most=7)


def attention(images: int, heads: int, queries: int, keys: int, *, width: int = 64, shared: int = 1,
              dtype: DType = dt.f16) -> Region:  # fmt: skip
    """Attention of heads that lie side by side in a row; `shared` of them have the same keys."""

    def rows(count: int, places: int) -> Operand:
        one = cases.tensor(dtype, (images, count, places, width))
        return replace(one, strides=(places * count * width, width, count * width, 1))

    q, y, k, v = rows(heads, queries), rows(heads, queries), rows(heads // shared, keys), rows(heads // shared, keys)
    return Anchored(y.shape, (y,), Attention(width**-0.5), (q, k, v), identity(dtype))


def attentions() -> Iterator[Entry]:
    """Few keys, which lie whole in shared memory, and many, which run through it."""
    for sizes in ((24, 12, 197, 197), (40, 12, 128, 128), (3, 2, 65, 32), (2, 3, 200, 256)):
        yield Entry(f"attention whole {sizes}", whole.STRATEGY, attention(*sizes), 3e-3, most=3)
    yield Entry("attention whole shared", whole.STRATEGY, attention(2, 6, 190, 50, shared=3), 3e-3, most=3)
    for sizes in ((16, 12, 384, 384), (1, 12, 1500, 1500), (2, 3, 130, 70), (2, 3, 300, 1000)):
        yield Entry(f"attention running {sizes}", running.STRATEGY, attention(*sizes), 3e-3, most=3)
    yield Entry("attention running 40", running.STRATEGY, attention(2, 8, 1024, 1024, width=40), 3e-3, most=3)
    narrow = attention(2, 6, 500, 77, shared=3, dtype=dt.bf16)
    yield Entry("attention running shared bf16", running.STRATEGY, narrow, 2e-2, most=3)
    yield Entry("attention pingpong shared bf16", pingpong.STRATEGY, narrow, 2e-2, most=8)
    for width, queries, keys in ((80, 1024, 1024), (160, 256, 256), (40, 4096, 77), (64, 384, 384)):
        name, region = f"attention pingpong {queries}x{keys}x{width}", attention(2, 8, queries, keys, width=width)
        yield Entry(name, pingpong.STRATEGY, region, 3e-3, most=8)
    for offset in (133, -70):
        causal = replace(attention(1, 3, 200, 333, width=48), anchor=Attention(0.14, causal=True, offset=offset))
        yield Entry(f"attention pingpong causal {offset}", pingpong.STRATEGY, causal, 3e-3, most=8)


def TABLE() -> list[Entry]:
    """All cases."""
    families = (rows, scans, scattered, sorted_, transposes, products, groups, norms, suppressions, cells)
    return [one for part in (*families, convolutions, pools, gates, attentions) for one in part()]
