"""Regions: an anchor with its neighbours fused in, as a kernel generator sees them.

A region iterates over a `domain`. Its operands say how they move through memory with each axis of it; views,
transposes, broadcasts, slices and parts of a concatenation are nothing but strides and offsets here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tenfold.ir.dim import Size, symbol
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op

THREADS = symbol("threads", 1, 4096)
"""The most threads a call uses: a symbol that formulas of part counts may mention, and nothing else."""


@dataclass(frozen=True, eq=False)
class Operand:
    """A tensor as a kernel reads or writes it: element (i, j, …) of the axes it is stated over lies
    `offset + i * strides[0] + j * strides[1] + …` elements after the start of `value`'s buffer.

    A stride of 0 repeats an element along that axis. `shape` holds the sizes of those axes.
    """

    value: Value
    dtype: DType
    shape: tuple[Size, ...]
    strides: tuple[Size, ...]
    offset: Size = 0


@dataclass(frozen=True)
class Instruction:
    """One scalar operation of a body, on registers. `op` is an elementwise operation of the catalogue,
    a scalar `Constant`, or one of `Index`, `Uniform`, `Load`.
    """

    op: Op
    args: tuple[int, ...]
    dtype: DType


class Index(Op):
    """The position along one axis of the region's domain, as i64."""

    axis: int


class Uniform(Op):
    """The region's `uniforms[number]`: a size known when the call starts, as i64."""

    number: int


class Load(Op):
    """An element of `gathered[number]` at a computed place: its arguments are positions along that operand's own axes,
    already within bounds.
    """

    number: int


@dataclass(frozen=True)
class Body:
    """A straight-line scalar program in SSA form. Registers 0 … len(inputs)-1 hold what the region supplies;
    each instruction defines the next register; `outputs` names registers.
    """

    inputs: tuple[DType, ...]
    code: tuple[Instruction, ...]
    outputs: tuple[int, ...]

    def dtype(self, register: int) -> DType:
        """The element type of a register."""
        return (*self.inputs, *(one.dtype for one in self.code))[register]


def identity(*dtypes: DType) -> Body:
    """The body that passes its inputs on."""
    return Body(dtypes, (), tuple(range(len(dtypes))))


@dataclass(frozen=True, eq=False)
class Region:
    """What every region has. `source` names the operators of the user's model that it computes.

    `gathered` are operands that bodies read by `Load`, `uniforms` sizes that they read by `Uniform`.
    """

    domain: tuple[Size, ...]
    outputs: tuple[Operand, ...]
    source: tuple[str, ...] = field(kw_only=True, default=())
    gathered: tuple[Operand, ...] = field(kw_only=True, default=())
    uniforms: tuple[Size, ...] = field(kw_only=True, default=())


@dataclass(frozen=True, eq=False)
class Pointwise(Region):
    """For each point of the domain: load `inputs`, run `body`, store its results to `outputs`.

    Every operand is stated over the domain, whose axes are in the storage order of the first output,
    outermost first.
    """

    inputs: tuple[Operand, ...]
    body: Body


Combine = Literal["sum", "max", "min", "prod", "any", "all", "argmax", "argmin", "argmax_last", "argmin_last"]


@dataclass(frozen=True)
class Phase:
    """One sweep over a row: `body` (one result) for each element, combined into a scalar.

    The body's registers are the loads of the region's `inputs`, then the scalars of the earlier phases.
    Combining starts from the identity of `combine` and has the element type of the body's result
    (f32 at least for floats); the arg forms give the position in the row as i64.
    """

    body: Body
    combine: Combine


@dataclass(frozen=True, eq=False)
class Row(Region):
    """Reductions, softmax and norms: the last `reduced` axes of the domain are a row.

    For each row: run the phases in order, each a reduction over the row that may use the scalars before it;
    then `finish` once (registers: `finish_inputs`, then the scalars), stored to `finish_outputs` (stated over the
    domain, stride 0 along the row's axes); then `body` for each element (registers: `inputs`, then the scalars),
    stored to `outputs`. Either `finish` or `body` may be absent.
    Every operand is stated over the whole domain; one of stride 0 along the row is loaded once.
    """

    reduced: int
    inputs: tuple[Operand, ...]
    phases: tuple[Phase, ...]
    body: Body | None
    finish: Body | None = None
    finish_inputs: tuple[Operand, ...] = ()
    finish_outputs: tuple[Operand, ...] = ()


@dataclass(frozen=True, eq=False)
class Anchored(Region):
    """One operation of the catalogue (contraction, convolution, window, attention, recurrent cell, sort, …)
    with an epilogue in its `out` site.

    `inputs` are the operation's operands, each stated over its own axes in the operation's own order
    (an image is N, C, H, W whatever its storage). The domain is the shape of the operation's first result,
    in its own order. `body` takes the anchor's results in registers 0 … `results`-1, then `extra` operands; it gives
    `outputs`; `extra` and `outputs` are stated over the domain. An anchor with several results of different shapes
    has the identity as its body and outputs stated over their own axes. Of the only output, `moments` [2, parts, …] are
    told besides, where they are asked for: along its last axis, the sums of so many parts, and those of their squares;
    or of images [N, C, ..., W] `sums` [N, ..., C] along their lines.
    """

    anchor: Op
    inputs: tuple[Operand, ...]
    body: Body
    extra: tuple[Operand, ...] = ()
    results: int = 1
    moments: Operand | None = field(default=None, metadata={"rare": True})
    sums: Operand | None = field(default=None, metadata={"rare": True})

    @property
    def told(self) -> tuple[Operand, ...]:
        """What is told besides."""
        return tuple(one for one in (self.moments, self.sums) if one)


@dataclass(frozen=True, eq=False)
class Chain(Region):
    """Regions as one: a stretch, each of which may read what those before it have written, or a group, none of which
    does. The domain is that of the last; `outputs` are those of all, but for those `within`, which nothing else reads
    and no kernel need store.
    """

    parts: tuple[Region, ...]
    within: tuple[Operand, ...] | None = field(default=None, metadata={"rare": True})
