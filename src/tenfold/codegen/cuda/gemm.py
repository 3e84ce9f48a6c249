"""Products of matrices: a persistent loop over tiles that move by descriptor, or slices of a long sum for few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid, matrices, site
from tenfold.codegen.cuda.arch import PROCESSORS, Arch, arch_of
from tenfold.codegen.cuda.guess import Tile
from tenfold.codegen.cuda.launch import CudaKernel, Filling, descriptor, launch, number, numbers, place
from tenfold.codegen.cuda.site import Site, site_of, slices_of
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.conv import Conv
from tenfold.ops.matmul import MatMul
from tenfold.target import Target

_USUAL = 4096
_ROUNDED, _SLOWER = 32, 3.0
"""From more rows on products take so many times as long that round in registers what they load."""
FEW_ROWS = 64
"""Up to so many rows a product is as fast as its matrix is read."""


@triton.jit
def persistent(
    a, b, target, outputs, extra, gathered, uniforms, row_sizes, m, n, k,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr, turned: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, HALVES: tl.constexpr, GROUP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Each block takes every so-manieth tile. `a` and `b` are descriptors, b's of [N, K] tiles if `turned`; `target` is
    the only output's, for tiles of N / HALVES columns, or nothing: then results are stored element by element.
    """
    grid.begin(EARLY)
    tiles = tl.cdiv(m, M) * tl.cdiv(n, N)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        high, wide = site.tile_of(tile, tl.cdiv(m, M), tl.cdiv(n, N), GROUP)
        first, left = high * M, wide * N
        acc = tl.zeros((M, N), tl.float32)
        for step in range(tl.cdiv(k, K)):
            x = a.load([first, step * K])
            y = b.load([left, step * K]).T if turned else b.load([step * K, left])
            acc = tl.dot(x, y, acc)
        row = first + tl.arange(0, M)
        if len(target) == 0:
            column = left + tl.arange(0, N)
            site.finish(
                acc, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds, extra_kinds
            )
        else:
            if HALVES == 2:
                parts = tl.split(tl.permute(tl.reshape(acc, (M, 2, N // 2)), (0, 2, 1)))
            else:
                parts = (acc,)
            for half in tl.static_range(HALVES):
                begin = left + half * (N // HALVES)
                column = begin + tl.arange(0, N // HALVES)
                results = site.finished(
                    parts[half], row, column, m, n, extra, gathered, uniforms, row_sizes, body, extra_kinds
                )
                target[0].store([first, begin], results[0].to(target[0].dtype))


@triton.jit
def sliced(
    a, b, batch_sizes, partial, counters, outputs, extra, gathered, uniforms, row_sizes, m, n, k,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SLICES: tl.constexpr, COPIED: tl.constexpr,
    TF32: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A stack of products: see `slice_of`."""
    grid.begin(EARLY)
    slice_of(
        tl.program_id(0), 0, a, b, batch_sizes, partial, counters, outputs, extra, gathered, uniforms, row_sizes, m, n,
        k, body, output_kinds, extra_kinds, M, N, K, SLICES, COPIED, TF32,
    )  # fmt: skip


@triton.jit
def slice_of(
    block, before, a, b, batch_sizes, partial, counters, outputs, extra, gathered, uniforms, row_sizes, m, n, k,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SLICES: tl.constexpr, COPIED: tl.constexpr, TF32: tl.constexpr,
):  # fmt: skip
    """A block sums one slice of the terms of one tile of one matrix of a stack. `a` and `b` are descriptors if COPIED
    (3: of [N, K] tiles of b), else addresses with strides along the stack's axes and the matrix's. So many tiles of
    other products in the same launch come `before`.
    """
    number, part = block // SLICES, block % SLICES
    across, down = tl.cdiv(n, N), tl.cdiv(m, M)
    batch, tile = number // (across * down), number % (across * down)
    high, left = site.tile_of(tile, down, across, 8)
    row, column = high * M + tl.arange(0, M), left * N + tl.arange(0, N)
    steps = tl.cdiv(tl.cdiv(k, K), SLICES)
    acc = tl.zeros((M, N), tl.float32)
    if COPIED == 0:
        a_rows, b_columns = grid.origins(a, b, batch_sizes, batch, row, column)
    for step in range(part * steps, tl.minimum(part * steps + steps, tl.cdiv(k, K))):
        if COPIED:
            x = a.load([high * M, step * K])
            y = b.load([left * N, step * K]).T if COPIED == 3 else b.load([step * K, left * N])
        else:
            term = step * K + tl.arange(0, K)
            x_inside = (row < m)[:, None] & (term < k)[None, :]
            x = tl.load(a_rows + term[None, :] * a[2][1], mask=x_inside, other=0)
            y_inside = (term < k)[:, None] & (column < n)[None, :]
            y = tl.load(b_columns + term.to(tl.int64)[:, None] * b[2][0], mask=y_inside, other=0)
        acc = grid.dot(x, y, acc, TF32 * 2 if COPIED else TF32)
    begin = batch * m
    site.conclude(
        acc, before + number, part, partial, counters, begin + row, column, begin + m, n, outputs, extra, gathered,
        uniforms, row_sizes, body, output_kinds, extra_kinds, M, N, SLICES,
    )  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A stack of products: `a` is [*batch, m, k], `b` [*batch, k, n], `site` where results go."""

    a: Operand
    b: Operand
    site: Site

    @property
    def batch(self) -> tuple[Size, ...]:
        """The sizes of the stack's axes; none for one product."""
        return self.a.shape[:-2]

    @property
    def m(self) -> Size:
        """Rows."""
        return self.a.shape[-2]

    @property
    def n(self) -> Size:
        """Columns."""
        return self.b.shape[-1]

    @property
    def k(self) -> Size:
        """Terms of each sum."""
        return self.a.shape[-1]

    def fillings(self) -> dict[str, Filling]:
        """What the kernels take of sizes and site."""
        beside = self.site.fillings()
        bodies = ("body", "output_kinds", "extra_kinds")
        sizes = {"m": number(self.m), "n": number(self.n), "k": number(self.k)}
        return (
            {name: one for name, one in beside.items() if name not in bodies} | sizes | {n: beside[n] for n in bodies}
        )


def problem_of(region: Region) -> Problem | Refusal:
    """The product that a region computes; or why there is none."""
    if isinstance(region, Anchored) and isinstance(region.anchor, Conv):
        return _of_pixels(region)
    if not isinstance(region, Anchored) or not isinstance(region.anchor, MatMul):
        return Refusal("no product of matrices")
    reason = emit.refusal(region.body)
    if reason:
        return Refusal(reason)
    a, b = region.inputs
    if len(a.shape) < 2 or len(b.shape) < 2:
        return Refusal("products with vectors have no generated code for GPUs yet")
    return _typed(stacked(a, b, region))


def _typed(problem: Problem) -> Problem | Refusal:
    a, b = problem.a, problem.b
    if a.dtype not in (dt.f16, dt.bf16, dt.f32) or a.dtype is not b.dtype:
        return Refusal(f"products of {a.dtype} and {b.dtype} have no generated code for GPUs yet")
    return problem


def stacked(a: Operand, b: Operand, region: Anchored) -> Problem:
    """The axes before the last two as one stack; as rows of A, where B does not move along them and A is dense."""
    batch = region.domain[:-2]
    spread = [_spread(one, batch) for one in (a, b)]
    place = site_of(region, range(len(region.domain)))
    if all(step == 0 or size == 1 for step, size in zip(spread[1].strides[:-2], batch, strict=True)):
        flat = _as_rows(a, spread[0].shape, spread[0].strides)
        if flat is not None:
            return Problem(flat, replace(b, shape=b.shape[-2:], strides=b.strides[-2:]), place)
    return Problem(spread[0], spread[1], place)


def _as_rows(one: Operand, shape: Sequence[Size], strides: Sequence[Size]) -> Operand | None:
    """All axes but the last as one; None if they do not lie behind one another."""
    step = grid.step_of(shape[:-1], strides[:-1])
    if step is None:
        return None
    return replace(one, shape=(dim.product(shape[:-1]), shape[-1]), strides=(step, strides[-1]))


def _spread(one: Operand, batch: tuple[Size, ...]) -> Operand:
    missing = len(batch) + 2 - len(one.shape)
    pairs = zip(one.shape[:-2], one.strides[:-2], batch[missing:], strict=True)
    steps = (0,) * missing + tuple(0 if size == 1 and whole != 1 else step for size, step, whole in pairs)
    return replace(one, shape=(*batch, *one.shape[-2:]), strides=(*steps, *one.strides[-2:]))


def _of_pixels(region: Anchored) -> Problem | Refusal:
    """A convolution of single pixels as a product: its rows are pixels, its columns output channels."""
    op, (x, w) = region.anchor, region.inputs
    assert isinstance(op, Conv)
    plain = op.groups == 1 and all(size == 1 for size in (*w.shape[2:], *op.strides))
    if not plain or any(pad != 0 for pad in (*op.pads_before, *op.pads_after)):
        return Refusal("its windows are no single pixels")
    reason = emit.refusal(region.body)
    if reason:
        return Refusal(reason)
    rank = len(region.domain)
    axes = (0, *range(2, rank), 1)
    a = _as_rows(x, [x.shape[axis] for axis in axes], [x.strides[axis] for axis in axes])
    if a is None:
        return Refusal("its pixels do not lie behind one another")
    b = Operand(w.value, w.dtype, (w.shape[1], w.shape[0]), (w.strides[1], w.strides[0]), w.offset)
    return _typed(Problem(a, b, site_of(region, axes)))


def _by_copy(problem: Problem, target: Target) -> Refusal | None:
    """Why the operands cannot move by descriptor, or None."""
    a, b = problem.a, matrices.laid(problem.b)
    if a.dtype is dt.f32 and "tf32" not in target.extras:
        return Refusal("tensor cores round f32 to TF32, which the model does not ask for")
    if problem.batch or problem.m == 1:
        return Refusal("the rows of A are one, or lie in several matrices")
    if a.dtype is dt.f32 and not _turned(b):
        return Refusal("tensor cores take a matrix of f32 by its columns")
    if not (_copied(a, a.strides[0], 1) and (_copied(b, b.strides[0], 1) or _turned(b))):
        return Refusal("rows that are no multiple of 16 bytes do not move by descriptor")
    return None


def _moved_a(problem: Problem, m: int, k: int) -> Filling:
    a = problem.a
    return descriptor(a, (m, k), a.shape, (a.strides[0], 1), a.dtype is dt.f32)


def _moved_b(problem: Problem, k: int, n: int) -> tuple[Filling, bool]:
    """B's descriptor; whether it is of [N, K] tiles."""
    b = matrices.laid(problem.b)
    if b.dtype is not dt.f32 and _copied(b, b.strides[0], 1):
        return descriptor(b, (k, n), b.shape, (b.strides[0], 1)), False
    return descriptor(b, (n, k), b.shape[::-1], (b.strides[1], 1), b.dtype is dt.f32), True


class Persistent:
    """Tiles by descriptor, a block a multiprocessor: for machines with TMA and rows of 16-byte multiples."""

    name = "persistent"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes, the best guess first."""
        problem = problem_of(region)
        if isinstance(problem, Refusal):
            return problem
        arch = arch_of(target)
        if not arch.tensor_copy:
            return Refusal(f"sm_{arch.sm} does not copy tiles by descriptor")
        refused = _by_copy(problem, target)
        if refused:
            return refused
        place = problem.site
        beside = 3 in grid.kinds(place.rows, place.columns)[: len(place.region.extra)]
        size = problem.a.dtype.itemsize
        return [one for one in _shapes(self.name, size) if _fits(one, arch, size, beside)]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""
        return guess(region, tactic, target)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of at most a block a multiprocessor."""
        problem = problem_of(region)
        assert isinstance(region, Anchored) and isinstance(problem, Problem)
        M, N, K, halves = (int(tactic[name]) for name in ("m", "n", "k", "halves"))
        b, turned = _moved_b(problem, K, N)
        fillings: dict[str, Filling] = {
            "a": _moved_a(problem, M, K),
            "b": b,
            "target": _target(problem, M, N // halves),
            **problem.fillings(),
            "turned": int(turned),
            **{"M": M, "N": N, "K": K, "HALVES": halves, "GROUP": 8},
            "EARLY": int(arch_of(target).early),
        }
        tiles = dim.ceildiv(problem.m, M) * dim.ceildiv(problem.n, N)
        blocks = dim.minimum(tiles, PROCESSORS * int(tactic["blocks"]))
        warps, stages = int(tactic["warps"]), int(tactic["stages"])
        return CudaKernel(launches=(launch(f"{__name__}:persistent", blocks, fillings, warps, stages),))


def _target(problem: Problem, m: int, n: int) -> Filling:
    """The descriptor of the only output, if it has one and its rows are one axis; else nothing."""
    place, outputs = problem.site, problem.site.region.outputs
    if len(outputs) != 1 or len(place.rows.sizes) != 1:
        return ()
    step = place.rows.strides[-1][0]
    if place.columns.strides[-1][0] != 1 or not _aligned(outputs[0], step):
        return ()
    return (descriptor(outputs[0], (m, n), (problem.m, problem.n), (step, 1)),)


def _shapes(name: str, itemsize: int) -> list[Tactic]:
    """Tiles; as many bytes a step of any element."""
    names = ("m", "n", "k", "warps", "stages", "halves", "blocks")
    rows = (
        (128, 256, 64, 8, 3, 2, 1),
        (128, 256, 64, 8, 4, 2, 1),
        (128, 128, 64, 8, 4, 1, 1),
        (128, 128, 64, 4, 4, 1, 1),
        (128, 128, 64, 8, 3, 2, 2),
        (128, 128, 128, 8, 3, 1, 1),
        (256, 128, 64, 8, 3, 1, 1),
        (256, 128, 64, 8, 4, 2, 1),
        (64, 256, 64, 4, 4, 2, 1),
        (64, 256, 64, 4, 2, 2, 2),
        (64, 128, 64, 4, 4, 1, 2),
        (128, 64, 64, 4, 4, 1, 2),
        (64, 64, 128, 4, 4, 1, 1),
        (64, 64, 64, 4, 5, 1, 2),
        (128, 256, 128, 8, 2, 2, 1),
        (64, 128, 128, 4, 2, 1, 2),
    )
    return tabled(name, names, [(m, n, k * 2 // itemsize, *rest) for m, n, k, *rest in rows])


def guess(region: Region, tactic: Tactic, target: Target) -> float:
    """How long a product by tiles might take, in nanoseconds."""
    problem, arch, given = problem_of(region), arch_of(target), dict(tactic.parameters)
    assert isinstance(problem, Problem)
    m, n, k, slices, stages = (int(given.get(name, 1)) for name in ("m", "n", "k", "slices", "stages"))
    tile = Tile(m, n, k, slices, stages, problem.a.dtype.itemsize)
    if given.get("copied", 1):
        return tile.nanoseconds(*extent(problem), arch)
    rounded = problem.a.dtype is dt.f32 and "tf32" in target.extras and extent(problem)[0] > _ROUNDED
    return (_SLOWER if rounded else 1.0) * tile.nanoseconds(*extent(problem), arch) + 100


def extent(problem: Problem) -> tuple[int, int, int]:
    """The most rows, of all matrices of a stack, columns and terms; a usual number where there is no most."""
    stack, *sizes = (dim.bounds(size)[1] for size in (dim.product(problem.batch), problem.m, problem.n, problem.k))
    rows, columns, terms = (size or _USUAL for size in sizes)
    return rows * (stack or 1), columns, terms


def _fits(tactic: Tactic, arch: Arch, itemsize: int, beside: bool) -> bool:
    """Whether blocks have room; what lies `beside` the sums passes through shared memory as a whole."""
    m, n, k, stages, halves, blocks = (int(tactic[one]) for one in ("m", "n", "k", "stages", "halves", "blocks"))
    return (stages * (m + n) * k + m * n // (1 if beside else halves)) * itemsize * blocks <= arch.shared - 64


def _copied(operand: Operand, step: Size, unit: Size) -> bool:
    """Whether the rows of a matrix move by descriptor: unit stride within, multiples of 16 bytes between."""
    return operand.strides[-1] == 1 and unit == 1 and _aligned(operand, step)


def _aligned(operand: Operand, step: Size) -> bool:
    size = operand.dtype.itemsize
    return step != 0 and dim.divisible(step * size, 16) and dim.divisible(operand.offset * size, 16)


def _turned(b: Operand) -> bool:
    return b.strides[-2] == 1 and _aligned(b, b.strides[-1])


class Sliced:
    """Tiles by address, the terms of a sum in slices: for few rows, few tiles, and for any strides."""

    name = "sliced"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes and slices, the best guess first."""
        problem = problem_of(region)
        if isinstance(problem, Refusal):
            return problem
        arch = arch_of(target)
        room = arch.shared // problem.a.dtype.itemsize
        copied = arch.tensor_copy and _by_copy(problem, target) is None
        names = ("m", "n", "k", "slices", "stages", "warps", "copied")
        found = [one for one in _tiles(problem) if (one[0] + one[1]) * one[2] * one[4] <= room and copied >= one[-1]]
        return tabled(self.name, names, found)

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""
        return guess(region, tactic, target)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch; counters and a workspace of partial sums."""
        problem = problem_of(region)
        assert isinstance(problem, Problem)
        a, b = problem.a, problem.b
        M, N, K, slices, copied = (int(tactic[name]) for name in ("m", "n", "k", "slices", "copied"))
        tiles = dim.product(problem.batch) * dim.ceildiv(problem.m, M) * dim.ceildiv(problem.n, N)
        sums, room, zeroed = slices_of(tiles, M, N, slices)
        moved, turned = _moved_b(problem, K, N) if copied else (0, False)
        fillings: dict[str, Filling] = {
            "a": _moved_a(problem, M, K) if copied else (place(a), numbers(a.strides[:-2]), numbers(a.strides[-2:])),
            "b": moved if copied else (place(b), numbers(b.strides[:-2]), numbers(b.strides[-2:])),
            "batch_sizes": numbers(problem.batch),
            **sums,
            **problem.fillings(),
            **{"M": M, "N": N, "K": K, "SLICES": slices, "COPIED": copied * (3 if turned else 1)},
            "TF32": int("tf32" in target.extras),
            "EARLY": int(arch_of(target).early),
        }
        warps, stages = int(tactic["warps"]), int(tactic["stages"])
        made = launch(f"{__name__}:sliced", tiles * slices, fillings, warps, stages)
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


def _tiles(problem: Problem) -> list[tuple[int, ...]]:
    """(m, n, k, slices, stages, warps, copied), the best guess first."""
    most = dim.bounds(problem.m)[1]
    if most is not None and most <= FEW_ROWS and not problem.batch:
        m = max(16, grid.power_of_two(most))
        return [(m, *one, copied) for one in _NARROW for copied in (1, 0)]
    if problem.a.dtype is dt.f32:
        by_address = [(64, 64, 32, 1, 3, 4, 0), (128, 128, 32, 1, 3, 8, 0), (32, 32, 32, 1, 3, 4, 0)]
        return [*by_address, *((m, n, k // 2, *rest, 1) for m, n, k, *rest in _SQUARE)]
    if problem.batch:
        return [(64, 64, 32, 1, 3, 4, 0), (128, 64, 32, 1, 3, 4, 0), (128, 128, 32, 1, 3, 8, 0)]
    return [(*one, copied) for one in _SQUARE for copied in (1, 0)]


_NARROW = (
    (64, 128, 2, 5, 4),
    (64, 128, 2, 6, 4),
    (32, 128, 1, 10, 4),
    (32, 256, 1, 4, 4),
    (32, 256, 1, 5, 4),
    (32, 256, 1, 3, 8),
    (64, 64, 4, 5, 4),
    (64, 64, 2, 8, 4),
    (32, 128, 2, 5, 4),
    (32, 128, 1, 8, 4),
    (128, 64, 4, 5, 4),
    (128, 128, 4, 4, 4),
    (128, 128, 4, 4, 8),
    (64, 256, 2, 3, 8),
    (64, 128, 4, 3, 4),
    (64, 64, 8, 4, 4),
)
"""Tiles for few rows: columns, terms, slices, stages, warps."""

_SQUARE = (
    (64, 64, 64, 1, 4, 4),
    (64, 64, 64, 2, 4, 4),
    (64, 64, 64, 4, 4, 4),
    (64, 64, 128, 2, 3, 4),
    (64, 64, 128, 4, 3, 4),
    (64, 32, 128, 1, 4, 4),
    (64, 32, 128, 2, 4, 4),
    (64, 128, 64, 1, 4, 4),
    (64, 128, 64, 2, 4, 4),
    (64, 128, 64, 4, 4, 4),
    (128, 64, 64, 1, 4, 4),
    (128, 64, 64, 2, 4, 4),
    (128, 128, 64, 1, 4, 8),
    (128, 128, 64, 2, 4, 8),
    (128, 32, 128, 1, 3, 4),
    (128, 32, 64, 2, 4, 4),
)
"""Tiles for more rows: rows, columns, terms, slices, stages, warps."""

SLICED = Sliced()
STRATEGIES = (Persistent(), SLICED)
