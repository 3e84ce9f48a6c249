"""Attention as a strategy: which regions it takes, its forms and arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tenfold.codegen.cpu.attention.blocked import source
from tenfold.codegen.cpu.attention.form import Form, Mask, Rows
from tenfold.codegen.cpu.emit import refusal
from tenfold.codegen.cpu.entry import steps
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import surrounding_arguments, surroundings
from tenfold.codegen.cpu.microkernel import Block, blocks_of, sum_of
from tenfold.codegen.cpu.outsite import Stream
from tenfold.codegen.cpu.product import asked, moving
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.cpu.storage import SUPPORTED
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.type import Type
from tenfold.ops.attention import Attention
from tenfold.target import Target

_BLOCKS = 4
"""The most blocks that are offered."""
_PAGE = 4096
_AGAIN = 0.5
"""What a block of queries costs beyond its lanes, in lanes."""


class AttentionStrategy:
    """Attention whose head sizes are known, with any mask that broadcasts."""

    name = "attention"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Several blocks of queries."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Attention):
            return Refusal("no attention")
        if not takes(Type(one.dtype, one.shape) for one in region.inputs):
            return Refusal("the head sizes are not known, or no kernel reads these elements")
        reason = refusal(region.body)
        if reason:
            return Refusal(reason)
        blocks = _blocks(region, isa_of(target))[:_BLOCKS]
        return [Tactic(self.name, (("block", str(block)),)) for block in blocks]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Anchored)
        isa = isa_of(target)
        block = {str(one): one for one in _blocks(region, isa)}[str(tactic["block"])]
        return _Maker(region, isa, block).kernel()


STRATEGY = AttentionStrategy()


def takes(operands: Iterable[Type]) -> bool:
    """Whether attention of queries, keys, values and perhaps a mask of these types has code here: head sizes must be
    known, and elements be such as kernels read.
    """
    types = tuple(operands)
    q, _, v = types[:3]
    known = isinstance(q.shape[3], int) and isinstance(v.shape[3], int)
    return known and all(one.dtype in SUPPORTED for one in types)


def _total(region: Anchored) -> DType:
    return sum_of(*(one.dtype for one in region.inputs[:3]))


def _blocks(region: Anchored, isa: Isa) -> list[Block]:
    """The blocks that could do, the one first that wastes the fewest lanes; keys and values are read once a block, so
    that of two alike the wider is the better.
    """
    blocks, queries = blocks_of(isa, _total(region)), region.domain[2]
    if not isinstance(queries, int):
        return blocks
    return sorted(blocks, key=lambda one: -(-queries // one.columns) * (one.columns + _AGAIN))


@dataclass(frozen=True, eq=False)
class _Maker:
    region: Anchored
    isa: Isa
    block: Block

    @property
    def op(self) -> Attention:
        assert isinstance(self.region.anchor, Attention)
        return self.region.anchor

    @property
    def mask(self) -> Operand | None:
        """The mask over batch, head, query and key."""
        if len(self.region.inputs) < 4:
            return None
        mask = self.region.inputs[3]
        whole = (*self.region.domain[:3], self.region.inputs[1].shape[2])
        missing = len(whole) - len(mask.shape)
        strides = (*(0,) * missing, *(0 if n == 1 else s for n, s in zip(mask.shape, mask.strides, strict=True)))
        return Operand(mask.value, mask.dtype, whole, strides, mask.offset)

    def kernel(self) -> Kernel:
        """The stage."""
        region, form = self.region, self.form
        q, k = region.inputs[:2]
        panels = dim.ceildiv(q.shape[2], self.block.columns)
        values: dict[str, Argument] = {
            "heads": q.shape[1],
            "panels": panels,
            "queries": q.shape[2],
            "keys": k.shape[2],
            "sharing": q.shape[1] // k.shape[1],
            "key_block": self._key_block(k.shape[2]),
            "offset": self.op.offset,
        }
        for name, one in zip(("q", "k", "v", "mask"), (*region.inputs[:3], self.mask), strict=False):
            if one is not None:
                axes = (f"{name}.{axis}" for axis in ("batch", "head", "row", "element"))
                values |= {f"@{name}": address(one), **steps(one, *axes)}
        streams = dict(zip(form.streams, moving(region), strict=True))
        for name, one in streams.items():
            size = one.dtype.itemsize
            values[name] = one.offset if name.startswith("@index") else address(one)
            values |= {f"batch.{name}": one.strides[0] * size, f"head.{name}": one.strides[1] * size}
            values[f"column.{name}"] = one.strides[3] * size
        values |= {f"group{number}": way for number, way in enumerate(self._ways())}
        values |= surrounding_arguments(region, address)
        stage = Stage(source(form), ordered(form.names, values), q.shape[0] * q.shape[1] * panels)
        return Kernel((stage,), form.places["end"])

    def _key_block(self, keys: Size) -> Size:
        """Even blocks of whole rows of registers."""
        count = dim.maximum(1, dim.ceildiv(keys, self.form.keys))
        return dim.maximum(1, dim.ceildiv(dim.ceildiv(keys, count), self.block.rows) * self.block.rows)

    def _ways(self) -> list[Size]:
        """The different steps, in bytes, of the body's operands from query to query."""
        found = [one.strides[2] * one.dtype.itemsize for one in moving(self.region)]
        return list(dict.fromkeys(way for way in found if way != 0))

    @property
    def form(self) -> Form:
        """What the code depends on."""
        region, op, total = self.region, self.op, _total(self.region)
        q, k, v = region.inputs[:3]
        depth, width = q.shape[3], v.shape[3]
        assert isinstance(depth, int) and isinstance(width, int)
        ways = self._ways()
        streams = []
        for one in moving(region):
            way, column = one.strides[2] * one.dtype.itemsize, 1 if width == 1 else one.strides[3]
            unit = column if isinstance(column, int) and column in (0, 1) else None
            streams.append(Stream(one.dtype, ways.index(way) if way != 0 else None, unit))
        extras, ends = len(region.extra), len(region.extra) + len(region.outputs)
        return Form(
            isa=self.isa,
            total=total,
            block=self.block,
            keys=self._most_keys(total),
            depth=depth,
            width=width,
            q=Rows(q.dtype, q.strides[3] == 1),
            k=self._rows(k, total),
            v=self._rows(v, total),
            mask=self._mask(),
            scale=op.scale,
            softcap=op.softcap,
            causal=op.causal,
            blind=op.blind,
            groups=len(ways),
            body=region.body,
            extra=tuple(streams[:extras]),
            outputs=tuple(streams[extras:ends]),
            indices=tuple(zip(asked(region), streams[ends:], strict=True)),
            around=surroundings(region, (), frozenset()),
        )

    def _most_keys(self, total: DType) -> int:
        """As many keys as have their scores in half of the first cache."""
        rows = self.isa.l1 // 2 // (self.block.columns * total.itemsize) // self.block.rows
        return max(1, rows) * self.block.rows

    def _rows(self, one: Operand, total: DType) -> Rows:
        pitch = one.strides[2] * one.dtype.itemsize
        evicting = isinstance(pitch, int) and pitch % _PAGE == 0
        adjacent = one.strides[3] == 1
        return Rows(one.dtype, adjacent, evicting or not adjacent or one.dtype is not total)

    def _mask(self) -> Mask | None:
        one = self.mask
        return None if one is None else Mask(one.dtype, one.strides[2] != 0, one.strides[3] == 1)
