"""Products of one row with a constant matrix, which streams through shared memory: a warp loads ahead, and since the
matrix depends on nothing it begins while the kernels ahead still run.
"""

from __future__ import annotations

from collections.abc import Sequence

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier

from tenfold.codegen.cuda import emit, gemm, grid, matrices, site
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.conv.dialect import copy_in
from tenfold.codegen.cuda.launch import CudaKernel, Filling, boxed, launch, number, place, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ops.constant import Constant
from tenfold.target import Target

_LARGEST = 160 << 20
"""Bytes of a matrix that is turned at most."""
_BYTES, _START, _SMALL = 4000.0, 2000.0, 5e3
"""Bytes a nanosecond that the whole chip reads, nanoseconds that a launch takes, bytes of a step that it costs."""
_WARPS, _REGISTERS = 4, 128


@gluon.jit
def feed(
    w, slots, full, empty, tiles, k, N: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr, EARLY: gl.constexpr
):  # fmt: skip
    """The matrix, tile by tile, step by step."""
    count = 0
    for tile in range(gl.program_id(0), tiles, gl.num_programs(0)):
        for step in range(gl.cdiv(k, K)):
            slot = count % SLOTS
            mbarrier.wait(empty.index(slot), (count // SLOTS + 1) & 1)
            mbarrier.expect(full.index(slot), w.block_type.nbytes)
            copy_in(w, [tile * N, step * K], full.index(slot), slots.index(slot))
            count += 1
    grid.release(EARLY)


@gluon.jit
def some(a, step, k, K: gl.constexpr, layout: gl.constexpr):
    """The terms of the row for a step."""
    term = step * K + gl.arange(0, K, layout=layout)
    return gl.load(a[0] + term * a[1], mask=term < k, other=0)


@gluon.jit
def sums(
    a, output, extra, uniforms, slots, full, empty, tiles, n, k, body: gl.constexpr, kinds: gl.constexpr,
    N: gl.constexpr, K: gl.constexpr, SLOTS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """The sums of a tile's columns, the body on them, stored."""
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [1, 32], [4, 1], [1, 0])
    grid.wait(EARLY)
    count = 0
    for tile in range(gl.program_id(0), tiles, gl.num_programs(0)):
        column = tile * N + gl.arange(0, N, layout=gl.SliceLayout(1, layout))
        values = ()
        for one in gl.static_range(len(kinds)):
            if kinds[one] == 2:
                values = values + (gl.load(extra[one] + column, mask=column < n, other=0),)
            else:
                values = values + (gl.load(extra[one]),)
        total = gl.zeros((N, K), gl.float32, layout)
        x = some(a, 0, k, K, gl.SliceLayout(0, layout))
        for step in range(gl.cdiv(k, K)):
            following = some(a, step + 1, k, K, gl.SliceLayout(0, layout))
            slot = count % SLOTS
            mbarrier.wait(full.index(slot), count // SLOTS & 1)
            part = slots.index(slot).load(layout)
            mbarrier.arrive(empty.index(slot))
            total += part.to(gl.float32) * gl.expand_dims(x.to(gl.float32), 0)
            x = following
            count += 1
        results = body((gl.sum(total, 1),) + values, (), uniforms, (), column < n)
        gl.store(output + column, results[0], mask=column < n)


@gluon.jit
def streamed(
    a, w, output, extra, uniforms, tiles, n, k, body: gl.constexpr, kinds: gl.constexpr, N: gl.constexpr,
    K: gl.constexpr, SLOTS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`a` is (address, step), `w` a descriptor of columns by terms, `extra` addresses of one number (`kinds` 0) or one
    a column (2).
    """
    slots = gl.allocate_shared_memory(w.dtype, [SLOTS] + w.block_type.shape, w.layout)
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(SLOTS):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=1)
    fence_async_shared()
    gl.warp_specialize(
        [
            (sums, (a, output, extra, uniforms, slots, full, empty, tiles, n, k, body, kinds, N, K, SLOTS, EARLY)),
            (feed, (w, slots, full, empty, tiles, k, N, K, SLOTS, EARLY)),
        ],
        [1], [24],
    )  # fmt: skip


class Stream:
    """One row, and columns whose terms lie side by side, or are laid so when an engine is built."""

    name = "stream"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Columns, terms at a time and slots, the best guess first."""
        problem = gemm.problem_of(region)
        if isinstance(problem, Refusal):
            return problem
        arch = arch_of(target)
        if arch.no_teams:
            return Refusal(arch.no_teams)
        assert isinstance(region, Anchored)
        reason = refusal(region, problem)
        if reason:
            return Refusal(reason)
        room = arch.shared // 2 - 3072
        names = ("n", "k", "slots")
        return tabled(self.name, names, ((n, k, room // (n * k * 2)) for n, k in _TILES))

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: as long as the multiprocessor with most columns takes."""
        problem = gemm.problem_of(region)
        assert not isinstance(problem, Refusal) and isinstance(problem.n, int) and isinstance(problem.k, int)
        tiles, processors = -(-problem.n // int(tactic["n"])), arch_of(target).processors
        small = 1.0 + _SMALL / (int(tactic["n"]) * int(tactic["k"]) * 2)
        share = -(-tiles // processors) * processors / tiles * small
        return _START + share * problem.n * problem.k * 2 / _BYTES

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of a block a multiprocessor, that leaves room for the next kernel's."""
        problem = gemm.problem_of(region)
        assert isinstance(region, Anchored) and not isinstance(problem, Refusal)
        N, K, slots = (int(tactic[name]) for name in ("n", "k", "slots"))
        w = matrices.turned(problem.b)
        beside = tuple(2 if strides[0] != 0 else 0 for strides in problem.site.columns.strides[: len(region.extra)])
        tiles = dim.ceildiv(problem.n, N)
        fillings: dict[str, Filling] = {
            "a": (place(problem.a), number(problem.a.strides[-1])),
            "w": boxed(w, (N, K), w.shape, (w.strides[0], 1)),
            "output": place(region.outputs[0]),
            "extra": tuple(map(place, region.extra)),
            "uniforms": uniforms(region.uniforms),
            **{"tiles": number(tiles), "n": number(problem.n), "k": number(problem.k)},
            "body": Hole(emit.gluon_text(region.body)),
            "kinds": beside,
            **{"N": N, "K": K, "SLOTS": slots, "EARLY": int(arch_of(target).early)},
        }
        blocks = dim.minimum(tiles, PROCESSORS)
        return CudaKernel(launches=(launch(f"{__name__}:streamed", blocks, fillings, _WARPS, registers=_REGISTERS),))


def refusal(region: Anchored, problem: gemm.Problem) -> str | None:
    """Why a product cannot take its matrix so."""
    if problem.m != 1 or problem.batch or not isinstance(problem.n, int) or not isinstance(problem.k, int):
        return "more rows than one, or columns or terms of unknown number"
    if reason := site.refusal(region):
        return reason
    steps = [strides[0] for strides in problem.site.columns.strides]
    if any(step not in (0, 1) for step in steps) or steps[-1] != 1:
        return "numbers of columns that do not lie side by side"
    b = problem.b
    if b.dtype not in (dt.f16, dt.bf16) or not isinstance(b.value.op, Constant):
        return "a matrix that is computed, or has no elements of 16 bits"
    if problem.k % 8 or (b.strides[-2] != 1 and (not matrices.whole(b) or problem.n * problem.k * 2 > _LARGEST)):
        return "columns that are no multiple of 16 bytes, part of a constant, or too many to be turned"
    return None


_TILES = ((32, 512), (16, 512), (64, 256), (8, 512), (32, 256))
"""Columns and terms of a step."""

STRATEGY = Stream()
