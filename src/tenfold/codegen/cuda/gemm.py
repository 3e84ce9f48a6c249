"""Products of matrices: a persistent loop over tiles that move by descriptor, or slices of a long sum for few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import PROCESSORS, Arch, arch_of
from tenfold.codegen.cuda.launch import (
    CudaKernel,
    Filling,
    descriptor,
    gathered,
    launch,
    number,
    numbers,
    place,
    uniforms,
    workspace,
)
from tenfold.codegen.cuda.triton import Hole
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.matmul import MatMul
from tenfold.target import Target

FEW_ROWS = 64
"""Up to so many rows a product is as fast as its matrix is read."""


@triton.jit
def finish(
    acc, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
):  # fmt: skip
    """The out site of a tile: the body on the sums and what lies beside them, stored element by element."""
    results = finished(acc, row, column, m, n, extra, gathered, uniforms, row_sizes, body, extra_kinds)
    row, column = row.to(tl.int64)[:, None], column[None, :]
    inside = (row < m) & (column < n)
    grid.store(outputs, results, grid.positions(row, row_sizes), (column,), inside, output_kinds)


@triton.jit
def finished(
    acc, row, column, m, n, extra, gathered, uniforms, row_sizes, body: tl.constexpr, extra_kinds: tl.constexpr
):  # fmt: skip
    """What the out site of a tile gives."""
    row, column = row.to(tl.int64)[:, None], column[None, :]
    row_inside, column_inside = row < m, column < n
    down, along = grid.positions(row, row_sizes), (column,)
    beside = grid.load(extra, down, along, row_inside, column_inside, extra_kinds)
    return body((acc,) + beside, down + along, uniforms, gathered, row_inside & column_inside)


@triton.jit
def tile_of(tile, m, n, M: tl.constexpr, N: tl.constexpr, GROUP: tl.constexpr):
    """The first row and column of a tile: groups of tile rows walk the columns together, so that both stay in L2."""
    across, down = tl.cdiv(n, N), tl.cdiv(m, M)
    group = tile // (GROUP * across)
    high = tl.minimum(down - group * GROUP, GROUP)
    within = tile % (GROUP * across)
    return (group * GROUP + within % high) * M, (within // high) * N


@triton.jit
def persistent(
    a, b, target, outputs, extra, gathered, uniforms, row_sizes, m, n, k,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr, turned: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, HALVES: tl.constexpr, GROUP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Each block takes every so-manieth tile. `a` and `b` are descriptors, b's of [N, K] tiles if `turned`; `target` is
    the only output's, for tiles of N / HALVES columns, or nothing: then results are stored element by element.
    """
    grid.wait(EARLY)
    tiles = tl.cdiv(m, M) * tl.cdiv(n, N)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        first, left = tile_of(tile, m, n, M, N, GROUP)
        acc = tl.zeros((M, N), tl.float32)
        for step in range(tl.cdiv(k, K)):
            x = a.load([first, step * K])
            y = b.load([left, step * K]).T if turned else b.load([step * K, left])
            acc = tl.dot(x, y, acc)
        row = first + tl.arange(0, M)
        if len(target) == 0:
            column = left + tl.arange(0, N)
            finish(
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
                results = finished(
                    parts[half], row, column, m, n, extra, gathered, uniforms, row_sizes, body, extra_kinds
                )
                target[0].store([first, begin], results[0].to(target[0].dtype))
    grid.release(EARLY)


@triton.jit
def sliced(
    a, b, partial, counters, outputs, extra, gathered, uniforms, row_sizes, m, n, k,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, SLICES: tl.constexpr, COPIED: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """A block sums one slice of the terms of one tile; the last to arrive adds the slices in order and goes on.
    `a` and `b` are descriptors if COPIED, else addresses with strides.
    """
    grid.wait(EARLY)
    tile, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    across = tl.cdiv(n, N)
    row = (tile // across) * M + tl.arange(0, M)
    column = (tile % across) * N + tl.arange(0, N)
    steps = tl.cdiv(tl.cdiv(k, K), SLICES)
    acc = tl.zeros((M, N), tl.float32)
    if not COPIED:
        a_rows = a[0] + grid.distance(grid.positions(row.to(tl.int64)[:, None], row_sizes), a[1], True)
    for step in range(part * steps, tl.minimum(part * steps + steps, tl.cdiv(k, K))):
        if COPIED:
            x = a.load([(tile // across) * M, step * K])
            y = b.load([step * K, (tile % across) * N])
        else:
            term = step * K + tl.arange(0, K)
            x_inside = (row < m)[:, None] & (term < k)[None, :]
            x = tl.load(a_rows + term[None, :] * a[2][0], mask=x_inside, other=0)
            place = b[0] + term.to(tl.int64)[:, None] * b[1][0] + column[None, :] * b[2][0]
            y = tl.load(place, mask=(term < k)[:, None] & (column < n)[None, :], other=0)
        acc = tl.dot(x, y, acc, input_precision="ieee")
    grid.release(EARLY)
    if SLICES == 1:
        finish(acc, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds, extra_kinds)
    else:
        element = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
        own = partial + tile.to(tl.int64) * (SLICES * M * N) + element
        tl.store(own + part * (M * N), acc)
        tl.debug_barrier()
        arrived = tl.atomic_add(counters + tile, 1, sem="acq_rel")
        if arrived == SLICES - 1:
            total = tl.zeros((M, N), tl.float32)
            for each in range(SLICES):
                total += tl.load(own + each * (M * N), cache_modifier=".cg")
            tl.store(counters + tile, 0)
            finish(
                total, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds, extra_kinds
            )


@dataclass(frozen=True)
class _Problem:
    """A product of two matrices: `rows` are those of A and of the streams, which may be several axes."""

    region: Anchored
    rows: grid.Merged
    columns: grid.Merged

    @property
    def m(self) -> Size:
        """Rows."""
        return dim.product(self.rows.sizes)

    @property
    def n(self) -> Size:
        """Columns."""
        return self.columns.sizes[0]

    @property
    def k(self) -> Size:
        """Terms of each sum."""
        return self.region.inputs[0].shape[-1]

    def beside(self) -> dict[str, Filling]:
        """What the out site takes."""
        region = self.region
        operands = (region.inputs[0], *region.extra, *region.outputs)
        streams, kinds = grid.streams(operands, self.rows, self.columns), grid.kinds(self.rows, self.columns)
        cut = 1 + len(region.extra)
        return {
            "outputs": streams[cut:],
            "extra": streams[1:cut],
            "gathered": gathered(region.gathered),
            "uniforms": uniforms(region.uniforms),
            "row_sizes": numbers(self.rows.sizes),
            "m": number(self.m),
            "n": number(self.n),
            "k": number(self.k),
            "body": Hole(emit.hole_text(region.body, self.rows.places)),
            "output_kinds": kinds[cut:],
            "extra_kinds": kinds[1:cut],
        }


def _problem(region: Anchored) -> _Problem:
    a = region.inputs[0]
    rank = len(region.domain)
    strides = (*(0,) * (rank - len(a.shape)), *a.strides[:-1], 0)
    over = Operand(a.value, a.dtype, region.domain, strides, a.offset)
    rows, columns = grid.merged(
        region.domain, (over, *region.extra, *region.outputs), grid.asked(region.body), cut=1
    )  # fmt: skip
    return _Problem(region, rows, columns)


def _refusal(region: Anchored) -> Refusal | None:
    a, b = region.inputs
    reason = emit.refusal(region.body)
    if reason:
        return Refusal(reason)
    if a.dtype not in (dt.f16, dt.bf16, dt.f32) or a.dtype is not b.dtype:
        return Refusal(f"products of {a.dtype} and {b.dtype} have no generated code for GPUs yet")
    if len(a.shape) < 2 or len(b.shape) < 2:
        return Refusal("products with vectors have no generated code for GPUs yet")
    if any(size != 1 and step != 0 for size, step in zip(b.shape[:-2], b.strides[:-2], strict=True)):
        return Refusal("batched products have no generated code for GPUs yet")
    return None


def _by_copy(region: Anchored) -> Refusal | None:
    """Why the operands cannot move by descriptor, or None."""
    a, b = region.inputs
    problem = _problem(region)
    if a.dtype is dt.f32:
        return Refusal("tensor cores round f32 to TF32, which the model does not ask for")
    if len(problem.rows.sizes) != 1 or problem.m == 1:
        return Refusal("the rows of A are one, or lie along several axes")
    if not (_copied(a, problem.rows.strides[0][0], 1) and (_copied(b, b.strides[-2], 1) or _turned(b))):
        return Refusal("rows that are no multiple of 16 bytes do not move by descriptor")
    return None


class Persistent:
    """Tiles by descriptor, a block a multiprocessor: for machines with TMA and rows of 16-byte multiples."""

    name = "persistent"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes, largest first."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, MatMul):
            return Refusal("no product of matrices")
        refused = _refusal(region)
        if refused:
            return refused
        arch = arch_of(target)
        if not arch.tensor_copy:
            return Refusal(f"sm_{arch.sm} does not copy tiles by descriptor")
        refused = _by_copy(region)
        if refused:
            return refused
        a = region.inputs[0]
        return [one for one in _shapes(self.name) if _fits(one, arch, a.dtype.itemsize)]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of at most a block a multiprocessor."""
        assert isinstance(region, Anchored)
        problem = _problem(region)
        a, b = region.inputs
        M, N, K, halves = (int(tactic[name]) for name in ("m", "n", "k", "halves"))
        turned = not _copied(b, b.strides[-2], 1)
        step = b.strides[-1] if turned else b.strides[-2]
        shape, block = ((problem.n, problem.k), (N, K)) if turned else ((problem.k, problem.n), (K, N))
        out, out_step = region.outputs[0], problem.rows.strides[-1][0]
        by_copy = len(region.outputs) == 1 and _copied(out, out_step, problem.columns.strides[-1][0])
        beside = problem.beside()
        names = ("outputs", "extra", "gathered", "uniforms", "row_sizes", "m", "n", "k")
        fillings: dict[str, Filling] = {
            "a": descriptor(a, (M, K), (problem.m, problem.k), (problem.rows.strides[0][0], 1)),
            "b": descriptor(b, block, shape, (step, 1)),
            "target": (descriptor(out, (M, N // halves), (problem.m, problem.n), (out_step, 1)),) if by_copy else (),
            **{name: beside[name] for name in names},
            **{name: beside[name] for name in ("body", "output_kinds", "extra_kinds")},
            "turned": int(turned),
            **{"M": M, "N": N, "K": K, "HALVES": halves, "GROUP": 8},
            "EARLY": int(arch_of(target).early),
        }
        tiles = dim.ceildiv(problem.m, M) * dim.ceildiv(problem.n, N)
        blocks = dim.minimum(tiles, PROCESSORS * int(tactic["blocks"]))
        warps, stages = int(tactic["warps"]), int(tactic["stages"])
        return CudaKernel((launch(f"{__name__}:persistent", blocks, fillings, warps, stages),))


def _shapes(name: str) -> list[Tactic]:
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
    return [Tactic(name, tuple(zip(names, row, strict=True))) for row in rows]


def _fits(tactic: Tactic, arch: Arch, itemsize: int) -> bool:
    m, n, k, stages, halves, blocks = (int(tactic[one]) for one in ("m", "n", "k", "stages", "halves", "blocks"))
    return (stages * (m + n) * k + m * n // halves) * itemsize * blocks <= arch.shared


def _copied(operand: Operand, step: Size, unit: Size) -> bool:
    """Whether the rows of a matrix move by descriptor: unit stride within, multiples of 16 bytes between."""
    size = operand.dtype.itemsize
    aligned = dim.divisible(step * size, 16) and dim.divisible(operand.offset * size, 16)
    return operand.strides[-1] == 1 and unit == 1 and aligned


def _turned(b: Operand) -> bool:
    size = b.dtype.itemsize
    return b.strides[-2] == 1 and dim.divisible(b.strides[-1] * size, 16) and dim.divisible(b.offset * size, 16)


class Sliced:
    """Tiles by address, the terms of a sum in slices: for few rows, and for any strides."""

    name = "sliced"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes and slices; without slices where rows are many."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, MatMul):
            return Refusal("no product of matrices")
        refused = _refusal(region)
        if refused:
            return refused
        most = dim.bounds(_problem(region).m)[1]
        if most is not None and most <= FEW_ROWS:
            m = max(16, grid.power_of_two(most))
            shapes = [(m, *one, copied) for one in _NARROW for copied in (1, 0)]
        else:
            shapes = [(64, 64, 32, 1, 3, 4, 0), (128, 128, 32, 1, 3, 8, 0), (32, 32, 32, 1, 3, 4, 0)]
        arch = arch_of(target)
        room = arch.shared // region.inputs[0].dtype.itemsize
        copied = arch.tensor_copy and _by_copy(region) is None and not _turned(region.inputs[1])
        names = ("m", "n", "k", "slices", "stages", "warps", "copied")
        found = [one for one in shapes if (one[0] + one[1]) * one[2] * one[4] <= room and copied >= one[-1]]
        return [Tactic(self.name, tuple(zip(names, one, strict=True))) for one in found]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch; a workspace of counters, which it leaves zero, then of partial sums."""
        assert isinstance(region, Anchored)
        problem = _problem(region)
        a, b = region.inputs
        M, N, K, slices, copied = (int(tactic[name]) for name in ("m", "n", "k", "slices", "copied"))
        tiles = dim.ceildiv(problem.m, M) * dim.ceildiv(problem.n, N)
        counters = dim.ceildiv(tiles * 4, 256) * 256 if slices > 1 else 0
        sums = tiles * slices * M * N * 4 if slices > 1 else 0
        beside = problem.beside()
        names = ("outputs", "extra", "gathered", "uniforms", "row_sizes", "m", "n", "k")
        fillings: dict[str, Filling] = {
            "a": descriptor(a, (M, K), (problem.m, problem.k), (problem.rows.strides[0][0], 1))
            if copied
            else (place(a), numbers(problem.rows.strides[0]), numbers(a.strides[-1:])),
            "b": descriptor(b, (K, N), (problem.k, problem.n), (b.strides[-2], 1))
            if copied
            else (place(b), numbers(b.strides[-2:-1]), numbers(b.strides[-1:])),
            "partial": workspace("*fp32", counters) if slices > 1 else 0,
            "counters": workspace("*i32") if slices > 1 else 0,
            **{name: beside[name] for name in names},
            **{name: beside[name] for name in ("body", "output_kinds", "extra_kinds")},
            **{"M": M, "N": N, "K": K, "SLICES": slices, "COPIED": copied, "EARLY": int(arch_of(target).early)},
        }
        warps, stages = int(tactic["warps"]), int(tactic["stages"])
        made = launch(f"{__name__}:sliced", tiles * slices, fillings, warps, stages)
        return CudaKernel((made,), workspace=counters + sums, zeroed=counters)


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

STRATEGIES = (Persistent(), Sliced())
