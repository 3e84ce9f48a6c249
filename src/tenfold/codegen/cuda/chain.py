"""Stretches of a network on one row in one launch: products with constant matrices, the rows and bodies between them,
attention of one query. A block a multiprocessor stays for all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from tenfold.codegen.cuda import emit, gemm, grid, links, matrices, reduce, stream
from tenfold.codegen.cuda.arch import PROCESSORS, arch_of
from tenfold.codegen.cuda.launch import (
    LINE,
    CudaKernel,
    Filling,
    boxed,
    counters,
    gathered,
    launch,
    numbers,
    place,
    uniforms,
    workspace,
)
from tenfold.codegen.cuda.order import POINTS, Link, ordered
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.operands import dense
from tenfold.codegen.region import Anchored, Body, Chain, Operand, Pointwise, Region, Row, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.attention import Attention
from tenfold.target import Target

PRODUCT, ATTENTION, JOIN = links.PRODUCT.value, links.ATTENTION.value, links.JOIN.value
_AHEAD = 192 << 10
"""Bytes of the heaviest matrix that a block asks for before there is room for them in its ring."""
_LONGEST = 1 << 14
"""Terms of the longest row, which lies in shared memory."""
_FARTHEST = 1 << 31
"""Elements that numbers of 32 bits do not count."""
_FEWEST = 2
"""Products of a chain: one alone is better off by itself."""


class ChainStrategy:
    """Chains of known sizes in floats of 16 bits."""

    name = "chain"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Columns and terms of a slot, slots, warps, the best guess first."""
        if not isinstance(region, Chain):
            return Refusal("no chain of regions")
        arch = arch_of(target)
        if arch.no_teams:
            return Refusal(arch.no_teams)
        n, k, _, warps = _SHAPES[0]
        made = _links(region, n, k, warps, arch.processors)
        if isinstance(made, Refusal):
            return made
        room = arch.shared - 2 * max(_longest(made), *(shape[1] for shape in _SHAPES)) - 4096
        shapes = ((n, k, room // (n * k * 2), flight // (n * k * 2), warps) for n, k, flight, warps in _SHAPES)
        return [Tactic(self.name, tuple(zip(_NAMES, shape, strict=True))) for shape in shapes]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of a block a multiprocessor."""
        assert isinstance(region, Chain)
        N, K, slots, flight, warps = (int(tactic[name]) for name in _NAMES)
        processors = arch_of(target).processors
        made = _links(region, N, K, warps, processors)
        assert not isinstance(made, Refusal)
        found = ordered(_asking(made, N))
        first = next(at for at, one in enumerate(found) if one.kind == PRODUCT)
        before = accumulate((one.turns for one in found), initial=0)
        plans = tuple(one.numbers(turns, 32 * warps, processors) for one, turns in zip(found, before, strict=False))
        fillings: dict[str, Filling] = {
            "given": tuple(one.given for one in found),
            "counters": counters(),
            "plans": plans,
            "holes": tuple(one.holes for one in found),
            **{"FIRST": first, "ROOM": _longest(made), "N": N, "K": K, "SLOTS": slots},
            **{"FLIGHT": min(slots, flight), "WARPS": warps, "MEET": 1, "EARLY": int(arch_of(target).early)},
        }
        registers = min(168, (1 << 16) // (32 * warps + 128) // 8 * 8)
        kernel = launch(f"{links.__name__}:chained", PROCESSORS, fillings, warps, registers=registers)
        return CudaKernel(launches=(kernel,), workspace=max(one.room for one in made), zeroed=8)


def _links(chain: Chain, n: int, k: int, warps: int, processors: int) -> list[Link] | Refusal:
    """The links of a chain; or why it has none."""
    found: list[Link] = []
    parts = list(chain.parts)
    while parts:
        part = parts.pop(0)
        ready = part if parts and not isinstance(part, Anchored) and _makes_ready(part, parts[0]) else None
        last, behind = parts.pop(0) if ready else part, max((one.room for one in found), default=0)
        attends = isinstance(last, Anchored) and isinstance(last.anchor, Attention)
        made = _attention(last, processors, behind) if attends else _link(last, ready, n, k, warps, processors)
        if isinstance(made, Refusal):
            return made
        found += made
    products = sum(one.kind == PRODUCT for one in found)
    return found if products >= _FEWEST else Refusal("fewer than two products")


def _link(part: Region, ready: Region | None, n: int, k: int, warps: int, processors: int) -> list[Link] | Refusal:
    if isinstance(part, Pointwise):
        return _points(part, warps, processors)
    if isinstance(part, Anchored):
        return _product(part, ready, n, k)
    return Refusal("a row that no product takes")


def _makes_ready(part: Region, following: Region) -> bool:
    """Whether every block can make the row that a product takes, for itself: what else it reads is not made with it,
    since one block alone stores that.
    """
    if not isinstance(part, Row | Pointwise) or not isinstance(following, Anchored):
        return False
    if _values(part.outputs) & _values((*following.inputs[1:], *following.gathered, *following.extra)):
        return False
    problem = gemm.problem_of(following)
    if isinstance(problem, Refusal) or not isinstance(problem.k, int) or problem.k > _LONGEST:
        return False
    is_row = all(size == 1 for size in part.domain[:-1]) and dim.known_equal(part.domain[-1], problem.k)
    return is_row and _writes_first(part, problem.a) and _is_simple(part)


def _writes_first(part: Row | Pointwise, row: Operand) -> bool:
    """Whether the first result is that row, and all terms lie side by side."""
    if not part.outputs or any(one.strides[-1] != 1 for one in (*part.outputs, row)):
        return False
    made = part.outputs[0]
    return made.value is row.value and made.offset == row.offset and made.dtype is row.dtype


def _is_simple(part: Row | Pointwise) -> bool:
    """Whether a block can compute it term by term, behind sums of single numbers."""
    if part.gathered or any(one.strides[-1] not in (0, 1) for one in part.inputs):
        return False
    bodies: tuple[Body | None, ...] = (part.body,)
    if isinstance(part, Row):
        if part.reduced != 1 or part.finish is not None or part.body is None:
            return False
        if any(phase.combine not in emit.SINGLE for phase in part.phases):
            return False
        bodies = (part.body, *(phase.body for phase in part.phases))
    return not grid.asked(*bodies) and emit.refusal(*bodies) is None


def _product(part: Anchored, ready: Region | None, n: int, k: int) -> list[Link] | Refusal:
    problem = gemm.problem_of(part)
    if isinstance(problem, Refusal):
        return problem
    reason = stream.refusal(part, problem)
    if reason or part.told:
        return Refusal(reason or "more is told than its row")
    assert isinstance(problem.n, int) and isinstance(problem.k, int)
    w, a = matrices.turned(problem.b), problem.a
    if problem.k > _LONGEST or problem.k % 64 or a.strides[-1] != 1 or part.body.inputs[0] is not a.dtype:
        return Refusal("a row that is too long or no multiple of 64 terms, or whose terms lie apart")
    beside = tuple(2 if one[0] != 0 else 0 for one in problem.site.columns.strides[: len(part.extra)])
    taken, scalars, body = _ready(ready, a)
    tiles, width = -(-problem.n // n), max(k, grid.power_of_two(problem.k))
    kinds = tuple(2 if one.strides[-1] != 0 else 0 for one in (ready.inputs if ready else (a,)))  # type: ignore[attr-defined]
    box = boxed(w, (k // 64, n, 64), (problem.k // 64, problem.n, 64), (64, w.strides[0], 1))
    output, extra = place(part.outputs[0]), tuple(map(place, part.extra))
    given = (box, output, extra, taken, uniforms(part.uniforms), place(w))
    plan = (
        tiles, -(-problem.k // k), problem.n, problem.k, width, beside, kinds,
        (0,) * (len(ready.outputs) if ready else 0),
    )  # fmt: skip
    holes, size = (scalars, body, _hole(part.body)), problem.n * problem.k * 2
    made = _values(ready.outputs if ready else ())
    reads = _read(part) - made | (_read(ready) if ready else frozenset())
    return [Link(PRODUCT, reads, made | _values(part.outputs), given, plan, holes, tiles, width, size)]


def _ready(ready: Region | None, a: Operand) -> tuple[Filling, Hole, Hole]:
    """What makes a row: addresses, and the bodies that give its scalars and its terms."""
    nothing = Hole(emit.hole_text(identity()))
    if ready is None:
        return ((place(a),), (), ()), nothing, _hole(identity(a.dtype))
    assert isinstance(ready, Row | Pointwise) and ready.body is not None
    taken = (tuple(map(place, ready.inputs)), tuple(map(place, ready.outputs)), uniforms(ready.uniforms))
    if isinstance(ready, Pointwise):
        return taken, nothing, _hole(ready.body)
    text = reduce.scalars(ready, emit.TileWriter((), combined=emit.SINGLE))
    return taken, Hole(emit.in_gluon(text)), _hole(ready.body)


def _points(part: Pointwise, warps: int, processors: int) -> list[Link] | Refusal:
    every = (*part.inputs, *part.outputs, *part.gathered)
    count = dim.product(part.domain)
    reason = emit.refusal(part.body)
    if reason or not isinstance(count, int) or count == 0 or max(map(_reach, every)) >= _FARTHEST:
        return Refusal(reason or "a domain of unknown size, or too many elements")
    outer, inner = grid.merged(part.domain, every[: len(part.inputs) + len(part.outputs)], grid.asked(part.body))
    streams = [
        (place(one), numbers((*down, *along)))
        for one, down, along in zip(every, outer.strides, inner.strides, strict=False)
    ]
    cut = len(part.inputs)
    sizes = numbers((*outer.sizes, *inner.sizes))
    given = (tuple(streams[:cut]), tuple(streams[cut:]), gathered(part.gathered), uniforms(part.uniforms), sizes)
    hole = Hole(emit.gluon_text(part.body, inner.places))
    turns = min(processors, -(-count // (32 * warps)))
    return [Link(POINTS, _read(part), _values(part.outputs), given, holes=(hole,), turns=turns, points=count)]


def _attention(part: Region, processors: int, behind: int) -> list[Link] | Refusal:
    """What slices leave lies `behind` that of others, which blocks may still read."""
    assert isinstance(part, Anchored)
    op = part.anchor
    assert isinstance(op, Attention)
    q, k, v = part.inputs[:3]
    sizes = [size for size in (*q.shape[:2], *k.shape[1:]) if isinstance(size, int)]
    if len(sizes) < 5 or q.shape[2] != 1 or len(part.inputs) > 3:
        return Refusal("attention with a mask, of several queries, or of unknown sizes")
    batch, heads, shared, keys, wide = sizes
    seen = not op.causal or (isinstance(op.offset, int) and op.offset >= keys - 1)
    alike = q.dtype is k.dtype is v.dtype and q.dtype in (dt.f16, dt.bf16) and v.shape[3] == wide
    if not seen or not alike or op.softcap != 0 or wide not in (32, 64, 128, 256) or keys == 0:
        return Refusal("attention that hides keys, bends scores, or has heads of other sizes")
    if part.body.code or part.extra or len(part.outputs) != 1:
        return Refusal("attention with a body")
    slices = max(1, min(processors // (batch * heads), -(-keys // 64)))
    most = max(8, min(8192 // wide, grid.power_of_two(-(-keys // slices))))
    queries, output = batch * heads, part.outputs[0]
    units, between = queries * slices, dense(dt.f32, (queries, slices, wide + 2))
    begin = -(-behind // LINE) * LINE
    partial = workspace("*fp32", begin)
    plan = (units, keys, heads, heads // shared, slices, most, wide, round(op.scale * 1e12))
    joined = (queries, heads, slices, max(2, grid.power_of_two(slices)), wide)
    left, end = frozenset({between.value}), begin + units * (wide + 2) * 4
    return [
        Link(ATTENTION, _read(part), left, (*map(_stream, (q, k, v)), partial), plan, (), units, room=end),
        Link(JOIN, left, _values(part.outputs), (_stream(output), partial), joined, (), queries),
    ]


def _asking(made: Sequence[Link], n: int) -> list[Link]:
    """The links, where the heaviest product's matrix is asked for ahead, if it has `n` columns for each tile: of what
    lies behind it nothing is asked for.
    """
    heaviest = max(made, key=lambda one: one.weight)
    ahead = _AHEAD // (heaviest.weight // heaviest.turns) if heaviest.plan[2] == heaviest.turns * n else 0
    return [replace(one, ahead=ahead) if one is heaviest and ahead else one for one in made]


def _longest(made: Iterable[Link]) -> int:
    """The terms of the longest row of a product."""
    return max(one.width for one in made)


def _read(part: Region) -> frozenset[Value]:
    """The buffers that a region reads."""
    given = part.inputs if isinstance(part, Pointwise | Row | Anchored) else ()
    return _values((*given, *part.gathered, *(part.extra if isinstance(part, Anchored) else ())))


def _values(some: Iterable[Operand]) -> frozenset[Value]:
    return frozenset(one.value for one in some)


def _reach(one: Operand) -> int:
    """How far away an operand's elements may lie; of unknown sizes, too far."""
    far = sum(step * (size - 1) for step, size in zip(one.strides, one.shape, strict=True))
    return far if isinstance(far, int) else _FARTHEST


def _stream(one: Operand) -> Filling:
    return (place(one), numbers(one.strides))


def _hole(body: Body) -> Hole:
    return Hole(emit.gluon_text(body))


_NAMES = ("n", "k", "slots", "flight", "warps")
_SHAPES = (
    (16, 512, 64 << 10, 8),
    (16, 512, 48 << 10, 8),
    (16, 512, 96 << 10, 8),
    (16, 1024, 64 << 10, 8),
    (16, 512, 32 << 10, 8),
)
"""Columns and terms of a slot, bytes that are under way, warps that add."""

STRATEGY = ChainStrategy()
