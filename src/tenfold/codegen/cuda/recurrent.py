"""Recurrent cells: LSTM, GRU and RNN over sequences, as one product for all inputs and then step by step.

`together`: blocks take 16 units each through all steps, and meet after every one; blocks start in their order, so
that those which wait for each other run at the same time. `steps`, of a known number of steps: a launch for each.
`serial`: a block takes some sequences through all steps with all units. States lie twice in the workspace, in f32: a
step reads one set and writes the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import triton
import triton.language as tl

from tenfold.codegen.cuda import contraction, emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.epilogue import copied
from tenfold.codegen.cuda.gates import Sweep, sweeps_of
from tenfold.codegen.cuda.launch import (
    CudaKernel,
    Filling,
    Given,
    Launch,
    Recast,
    counters,
    launch,
    number,
    numbers,
    place,
    placed,
    room,
    workspace,
)
from tenfold.codegen.cuda.program import Hole, Word
from tenfold.codegen.operands import dense
from tenfold.codegen.region import Anchored, Operand, Region, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.constant import Constant
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Reshape, Transpose
from tenfold.ops.recurrent import Recurrent
from tenfold.target import Target

_MOST = 1 << 12
"""The most launches that a cell may come to."""
_WIDEST = 1 << 10
"""Units of the largest cell whose blocks, 16 units each, surely run at the same time and may wait for each other."""
_STATES = ("h", "c", "z", "rh")


@triton.jit
def summed(
    state, r, gate, row, row_inside, unit, unit_inside, H: tl.constexpr, DOT: tl.constexpr, TF32: tl.constexpr,
    ROWS: tl.constexpr, UNITS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """A state times the columns of R of one gate, for some sequences and units."""
    total = tl.zeros((ROWS, UNITS), tl.float32)
    for begin in range(0, H, K):
        term = begin + tl.arange(0, K)
        inside = row_inside[:, None] & (term < H)[None, :]
        s = tl.load(state + row[:, None] * H + term[None, :], mask=inside, other=0.0, cache_modifier=".cg")
        where = r[0] + gate * r[1] + term[:, None] * r[3] + unit[None, :] * r[2]
        m = tl.load(where, mask=(term < H)[:, None] & unit_inside[None, :], other=0)
        if DOT:
            total = grid.dot(s.to(m.dtype), m, total, TF32)
        else:
            total += tl.sum(s[:, :, None] * m.to(tl.float32)[None, :, :], 1)
    return total


@triton.jit
def sweep(
    pre, r, biases, given, made, old, y, last, t, ends, running, row, row_inside, unit, unit_inside, sequences,
    reads, gates: tl.constexpr, body: tl.constexpr, H: tl.constexpr, G: tl.constexpr, SETTLES: tl.constexpr,
    DOT: tl.constexpr, TF32: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """One sweep of a step for some sequences and units. `given` states are read, `made` written; if it SETTLES the
    step, where a sequence has ended its `old` states stay, and `y` and the `last` states are written.
    """
    inside = row_inside[:, None] & unit_inside[None, :]
    cell = row[:, None] * H + unit[None, :]
    values = ()
    for k in tl.static_range(len(gates)):
        x = pre + (t * sequences + row)[:, None] * (G * H) + gates[k] * H + unit[None, :]
        values = values + (tl.load(x, mask=inside, other=0.0),)
    for k in tl.static_range(len(gates)):
        total = summed(reads, r, gates[k], row, row_inside, unit, unit_inside, H, DOT, TF32, ROWS, UNITS, K)
        values = values + (total,)
    for k in tl.static_range(len(biases)):
        bias = tl.load(biases[k][0] + (biases[k][1] * H + unit) * biases[k][2], mask=unit_inside, other=0)
        values = values + (bias.to(tl.float32)[None, :],)
    for k in tl.static_range(len(given)):
        values = values + (tl.load(given[k] + cell, mask=inside, other=0.0, cache_modifier=".cg"),)
    results = body(values, (), (), (), inside)
    for k in tl.static_range(len(made)):
        result = results[k]
        if SETTLES:
            result = tl.where(
                running[:, None], result, tl.load(old[k] + cell, mask=inside, other=0.0, cache_modifier=".cg")
            )
            place = last[k][0] + row[:, None] * last[k][1] + unit[None, :] * last[k][2]
            tl.store(place, result, mask=inside & ends)
        tl.store(made[k] + cell, result, mask=inside)
    if SETTLES:
        shown = tl.where(running[:, None], results[0], 0.0)
        tl.store(y[0] + t * y[1] + row[:, None] * y[2] + unit[None, :] * y[3], shown, mask=inside)


@triton.jit
def turn(
    pre, r, biases, states, y, last, t, odd, ends, running, row, row_inside, start, sequences, given: tl.constexpr,
    makes: tl.constexpr, reads: tl.constexpr, gates: tl.constexpr, body: tl.constexpr, settles: tl.constexpr,
    H: tl.constexpr, G: tl.constexpr, KEPT: tl.constexpr, DOT: tl.constexpr, TF32: tl.constexpr, ROWS: tl.constexpr,
    UNITS: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """One sweep of a step for the units from `start` on, the states being where the step finds them."""
    unit, size = start + tl.arange(0, UNITS), sequences * H
    now, after, held = (), (), ()
    for k in tl.static_range(len(given)):
        now = now + (chosen(states, given[k], odd, KEPT, size),)
    for k in tl.static_range(len(makes)):
        after = after + (chosen(states, makes[k], 1 - odd, KEPT, size),)
    for k in tl.static_range(KEPT):
        held = held + (chosen(states, k, odd, KEPT, size),)
    read = chosen(states, reads, odd, KEPT, size)
    sweep(
        pre, r, biases, now, after, held, y, last, t, ends, running, row, row_inside, unit, unit < H, sequences, read,
        gates, body, H, G, settles, DOT, TF32, ROWS, UNITS, K,
    )  # fmt: skip


@triton.jit
def meet(counter, seen, BLOCKS: tl.constexpr):
    """Wait until all blocks that share a counter have come here once more than `seen` says."""
    tl.debug_barrier()
    target = seen * BLOCKS + BLOCKS
    arrived = tl.atomic_add(counter, 1, sem="acq_rel") + 1
    while arrived < target:
        arrived = tl.atomic_add(counter, 0, sem="acq_rel")
    tl.debug_barrier()


@triton.jit
def part(counter, BLOCKS: tl.constexpr):
    """What blocks that met end with: the last of them leaves zeros."""
    if tl.atomic_add(counter + 1, 1, sem="acq_rel") == BLOCKS - 1:
        tl.store(counter, 0)
        tl.store(counter + 1, 0)


@triton.jit
def advance(
    pre, r, biases, states, counters, y, last, lengths, steps, sequences, first, count, gates: tl.constexpr,
    given: tl.constexpr, makes: tl.constexpr, reads: tl.constexpr, bodies: tl.constexpr, settles: tl.constexpr,
    H: tl.constexpr, G: tl.constexpr, KEPT: tl.constexpr, CHUNKS: tl.constexpr, REVERSE: tl.constexpr,
    DOT: tl.constexpr, TF32: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, K: tl.constexpr,
    MEET: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """`count` steps from number `first` on, of some sequences; if CHUNKS, of one chunk of units, the blocks of all
    chunks meeting after each sweep if MEET. `states` are two sets; the first KEPT of a set outlive a step.
    """
    grid.wait(EARLY)
    if CHUNKS:
        block, begin = tl.program_id(0) // CHUNKS, tl.program_id(0) % CHUNKS * UNITS
        end = begin + 1
    else:
        block, begin, end = tl.program_id(0), 0, H
    row = block.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    row_inside = row < sequences
    length = tl.full((ROWS,), 0, tl.int64) + steps
    if len(lengths) > 0:
        length = tl.load(lengths[0] + row * lengths[1], mask=row_inside, other=0).to(tl.int64)
    for step in range(first, first + count):
        t = (steps - 1 - step if REVERSE else step) + tl.full((), 0, tl.int64)
        ends = tl.full((1, 1), 0, tl.int64) + step == steps - 1
        for one in tl.static_range(len(gates)):
            for start in range(begin, end, UNITS):
                turn(
                    pre, r, biases[one], states, y, last, t, step % 2, ends, t < length, row, row_inside, start,
                    sequences, given[one], makes[one], reads[one], gates[one], bodies[one], settles[one], H, G, KEPT,
                    DOT, TF32, ROWS, UNITS, K,
                )  # fmt: skip
            if MEET:
                meet(counters + 2 * block, (step - first) * len(gates) + one, CHUNKS)
            elif not CHUNKS:
                tl.debug_barrier()
    if MEET:
        part(counters + 2 * block, CHUNKS)
    grid.release(EARLY)


@triton.jit
def chosen(states, which: tl.constexpr, odd, KEPT: tl.constexpr, size):
    """Where a state lies: one that outlives a step in one of two places."""
    if which < KEPT:
        return states + (2 * which + odd) * size
    else:
        return states + (KEPT + which) * size


class RecurrentStrategy:
    """LSTM, GRU and RNN in f32 and in floats of 16 bits."""

    name = "recurrent"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """All ways that apply, the best guess first."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Recurrent):
            return Refusal("no recurrent cell")
        x, op = region.inputs[0], region.anchor
        reason = next((one for one in (emit.refusal(each.body) for each in sweeps_of(op)) if one), None)
        if x.dtype not in (dt.f32, dt.f16, dt.bf16) or reason or region.body.code:
            return Refusal(reason or f"a cell of {x.dtype}")
        product = contraction.STRATEGY.tactics(_product(region)[0], target)
        if isinstance(product, Refusal):
            return product
        count = x.shape[0]
        orders = ["together", "serial"] if op.hidden <= _WIDEST else ["serial"]
        if isinstance(count, int) and count * len(sweeps_of(op)) <= _MOST:
            orders = ["steps", *orders]
        return tuple(Tactic(self.name, (("order", order),)) for order in orders)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """The product of all inputs, the first states, the steps."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, Recurrent)
        product, pre = _product(region)
        tactics = contraction.STRATEGY.tactics(product, target)
        assert not isinstance(tactics, Refusal)
        own = tactics[next(at for at, one in enumerate(tactics) if one.strategy != "cublas")]
        made = contraction.STRATEGY.build(product, own, target)
        return _Cell(region, target, pre, made).kernel(str(tactic["order"]))


class _Cell:
    """A recurrent region with its parts named, and where each lies in the workspace: the product's own, the states,
    the sums over the inputs.
    """

    def __init__(self, region: Anchored, target: Target, pre: Operand, product: CudaKernel) -> None:
        assert isinstance(region.anchor, Recurrent)
        self.region, self.op, self.target, self.pre, self.product = region, region.anchor, target, pre, product
        op = self.op
        x, _, r, *rest = region.inputs
        self.lengths = rest.pop() if op.lengths else None
        self.first = rest[op.biases : op.biases + op.states]
        names = {1: ("b", "p"), 2: ("wb", "rb")}[op.biases]
        self.biases = dict(zip(names, [*rest[: op.biases], *rest[op.biases + op.states :]], strict=False))
        self.y, *self.last = region.outputs
        self.x, self.r = x, r
        self.steps, self.sequences = x.shape[:2]
        self.states = room(product.workspace)
        self.cells = self.sequences * op.hidden * 4
        self.sums = self.states + room(self.cells * (op.states + len(_STATES)))

    def kernel(self, order: str) -> CudaKernel:
        starts, copies = {self.pre.value: self.sums}, list[Launch]()
        for number_of, one in enumerate(self.first):
            state = dense(dt.f32, one.shape)
            starts[state.value] = self.states + self.cells * (2 * number_of)
            copies += copied(one, state, self.target)
            if not dim.known_positive(self.steps):
                copies += copied(one, self.last[number_of], self.target)
        sweeps = sweeps_of(self.op)
        if order == "steps":
            assert isinstance(self.steps, int)
            turns = [self._advance((one,), at, 1, order) for at in range(self.steps) for one in sweeps]
        else:
            turns = [self._advance(sweeps, 0, self.steps, order)]
        launches = placed((*self.product.launches, *copies, *turns), starts)
        size = self.sums + dim.product(self.pre.shape) * 4
        meeting = self.sequences * 8 if order == "together" else 0
        return CudaKernel(launches=launches, workspace=size, zeroed=dim.maximum(self.product.zeroed, meeting))

    def _advance(self, sweeps: Sequence[Sweep], first: Size, count: Size, order: str) -> Launch:
        """Some steps with some of their sweeps; a block takes all units, or a chunk of them."""
        op, alone = self.op, order != "serial"
        most = dim.bounds(self.sequences)[1] or 16
        many = self.x.dtype is not dt.f32 or most >= 16
        rows, wide = 16 if many else min(4, grid.power_of_two(most)), grid.power_of_two(op.hidden)
        units = max(16, min(wide, 16 if alone else 128 if many else 64))
        terms = max(16, min(wide, 128 if many else (1 << 13) // (rows * units)))
        chunks = -(-op.hidden // units) if alone else 0
        place_of = {"h": 0, "c": 1, "z": op.states, "rh": op.states + 1}
        fillings: dict[str, Filling] = {
            "pre": place(self.pre),
            "r": self._matrix(),
            "biases": tuple(tuple(self._bias(name, gate) for name, gate in one.biases) for one in sweeps),
            "states": workspace("*fp32", self.states),
            "counters": counters() if order == "together" else 0,
            "y": (place(self.y), *numbers(self.y.strides)),
            "last": tuple((place(one), *numbers(one.strides)) for one in self.last),
            "lengths": (place(self.lengths), number(self.lengths.strides[0])) if self.lengths else (),
            **{"steps": number(self.steps), "sequences": number(self.sequences)},
            **{"first": Given(Word("i32"), first), "count": number(count)},
            "gates": tuple(one.gates for one in sweeps),
            "given": tuple(tuple(place_of[name] for name in one.given) for one in sweeps),
            "makes": tuple(tuple(place_of[name] for name in one.makes) for one in sweeps),
            "reads": tuple(place_of[one.reads] for one in sweeps),
            "bodies": tuple(Hole(emit.hole_text(one.body)) for one in sweeps),
            "settles": tuple(int("h" in one.makes) for one in sweeps),
            **{"H": op.hidden, "G": op.gates, "KEPT": op.states, "CHUNKS": chunks, "REVERSE": int(op.reverse)},
            **{"DOT": int(many), "TF32": int("tf32" in self.target.extras)},
            **{"ROWS": rows, "UNITS": units, "K": terms},
            **{"MEET": int(order == "together"), "EARLY": int(arch_of(self.target).early)},
        }
        blocks = dim.ceildiv(self.sequences, rows) * max(1, chunks)
        return launch(f"{__name__}:advance", blocks, fillings, 4 if alone else 8)

    def _matrix(self) -> Filling:
        """R and its strides along gates, units and terms: of a constant, units lie side by side."""
        gates, hidden, r = self.op.gates, self.op.hidden, self.r
        if isinstance(r.value.op, Constant) and r.offset == 0 and r.value.type.shape == r.shape:
            recipe = (Reshape((gates, hidden, hidden)), Transpose((0, 2, 1)))
            packed = Recast(r.value, r.dtype, (gates, hidden, hidden), (hidden * hidden, hidden, 1), 0, recipe)
            return (place(packed), hidden * hidden, 1, hidden)
        return (place(r), *numbers((r.strides[0] * hidden, *r.strides)))

    def _bias(self, name: str, gate: int) -> Filling:
        one = self.biases[name]
        return (place(one), gate, number(one.strides[0]))


def _product(region: Anchored) -> tuple[Anchored, Operand]:
    """x w' for all steps and sequences, in f32, and the operand that holds it."""
    x, w = region.inputs[:2]
    turned = replace(w, shape=(w.shape[1], w.shape[0]), strides=(w.strides[1], w.strides[0]))
    pre = dense(dt.f32, (*x.shape[:2], w.shape[0]))
    return Anchored(pre.shape, (pre,), MatMul(), (x, turned), identity(x.dtype), source=region.source), pre


STRATEGY = RecurrentStrategy()
