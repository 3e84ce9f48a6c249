"""Attention as a strategy: which regions it takes, its forms and arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.attention.blocked import source
from tenfold.codegen.cpu.attention.form import Form, Mask, Rows
from tenfold.codegen.cpu.attention.sliced import AXES, Join, Slice, join_source, slice_source
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
from tenfold.codegen.strategy import Argument, Kernel, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.type import Type
from tenfold.ops.attention import Attention
from tenfold.target import Target

_BLOCKS = 4
"""The most blocks that are offered."""
_PAGE = 4096
_SLICED = (("keys", "sliced"),)
_KEYS = 256
"""The most keys of a slice."""
_FEW, _SOME = 3, 8
"""The most queries for which slices of keys are the first choice, and a choice."""
_AGAIN = 2
"""What a block of queries costs beyond its lanes, in lanes."""


class AttentionStrategy:
    """Attention whose head sizes are known, with any mask that broadcasts: queries in lanes, in several blocks; for few
    queries also the elements of keys in lanes, and keys in slices.
    """

    name = "attention"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Several blocks of queries, slices of keys ahead of them where there are very few."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Attention):
            return Refusal("no attention")
        if not takes(Type(one.dtype, one.shape) for one in region.inputs):
            return Refusal("the head sizes are not known, or no kernel reads these elements")
        reason = refusal(region.body)
        if reason:
            return Refusal(reason)
        isa, queries = isa_of(target), region.domain[2]
        found = [Tactic(self.name, (("block", str(block)),)) for block in _blocks(region, isa)[:_BLOCKS]]
        count = queries if isinstance(queries, int) and _lanes(region, isa) > 1 else _SOME + 1
        sliced = [Tactic(self.name, _SLICED)] * (count <= _SOME)
        return [*sliced, *found] if count <= _FEW else [*found, *sliced]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage; two for slices of keys."""
        assert isinstance(region, Anchored)
        isa = isa_of(target)
        if tactic.parameters == _SLICED:
            return _Sliced(region, isa).kernel()
        block = {str(one): one for one in _blocks(region, isa)}[str(tactic["block"])]
        return _Blocked(region, isa, block).kernel()


STRATEGY = AttentionStrategy()


def takes(operands: Iterable[Type]) -> bool:
    """Whether attention of queries, keys, values and perhaps a mask of these types has code here: head sizes must be
    known and above 0, and elements be such as kernels read.
    """
    types = tuple(operands)
    q, _, v = types[:3]
    known = all(isinstance(size, int) and size > 0 for size in (q.shape[3], v.shape[3]))
    return known and all(one.dtype in SUPPORTED for one in types)


def _total(region: Anchored) -> DType:
    return sum_of(*(one.dtype for one in region.inputs[:3]))


def _blocks(region: Anchored, isa: Isa) -> list[Block]:
    """The blocks that could do, the one first that wastes the fewest lanes, and the fewest keys that causality hides
    from some queries of a block; keys and values are read once a block, so that of two alike the wider is the better.
    """
    assert isinstance(region.anchor, Attention)
    blocks, queries, causal = blocks_of(isa, _total(region)), region.domain[2], region.anchor.causal
    if not isinstance(queries, int):
        return blocks

    def cost(one: Block) -> float:
        lanes = _lanes_taken(queries, one, _narrow(one, isa, region))
        return lanes * (queries + one.columns if causal else 1)

    return sorted(blocks, key=cost)


def _narrow(block: Block, isa: Isa, region: Anchored) -> Block | None:
    """The block of half as many vectors, where a last part may have so few queries."""
    queries = region.domain[2]
    halves = [one for one in blocks_of(isa, _total(region)) if one.lanes == block.lanes]
    found = [one for one in halves if one.vectors == (block.vectors + 1) // 2 < block.vectors]
    fitting = [one for one in found if not isinstance(queries, int) or 0 < queries % block.columns <= one.columns]
    return fitting[0] if fitting else None


def _lanes_taken(queries: int, block: Block, narrow: Block | None) -> int:
    """What the parts of so many queries cost, in lanes."""
    whole, rest = divmod(queries, block.columns)
    last = (narrow or block).columns + _AGAIN if rest else 0
    return whole * (block.columns + _AGAIN) + last


def _repeated(size: Size, stride: Size, wanted: Size) -> Size:
    """The stride of an axis of `size` that is walked as if it were `wanted`."""
    if size == 1 or dim.known_equal(size, wanted):
        return 0 if size == 1 else stride
    return dim.select(dim.equal(size, 1), 0, stride)


def _lanes(region: Anchored, isa: Isa) -> int:
    """The most lanes that divide the elements of keys and of values."""
    lanes = isa.lanes(_total(region).itemsize)
    sizes = region.inputs[0].shape[3], region.inputs[2].shape[3]
    while lanes > 1 and any(size % lanes for size in sizes):
        lanes //= 2
    return lanes


@dataclass(frozen=True, eq=False)
class _Maker:
    """What both forms share."""

    region: Anchored
    isa: Isa

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
        sizes = zip(mask.shape, mask.strides, whole[missing:], strict=True)
        strides = (*(0,) * missing, *(_repeated(size, stride, wanted) for size, stride, wanted in sizes))
        return Operand(mask.value, mask.dtype, whole, strides, mask.offset)

    def values(self, streams: Iterable[str]) -> dict[str, Argument]:
        """The arguments that both have; `streams` names the body's operands."""
        q, k = self.region.inputs[:2]
        values: dict[str, Argument] = {
            "heads": q.shape[1],
            "shared": k.shape[1],
            "sharing": q.shape[1] // k.shape[1],
            "queries": q.shape[2],
            "keys": k.shape[2],
            "offset": self.op.offset,
        }
        for name, one in zip(("q", "k", "v", "mask"), (*self.region.inputs[:3], self.mask), strict=False):
            if one is not None:
                values |= {f"@{name}": address(one), **steps(one, *(f"{name}.{axis}" for axis in AXES))}
        for name, one in zip(streams, moving(self.region), strict=True):
            values[name] = one.offset if name.startswith("@index") else address(one)
            values |= steps(one, *(f"{axis}.{name}" for axis in (*AXES[:3], "column")))
        return values | surrounding_arguments(self.region, address)

    def streams(self, ways: Sequence[Size]) -> dict[str, tuple[Stream, ...]]:
        """The body's operands, in groups by their steps from query to query if there are `ways`."""
        region, width = self.region, self.region.inputs[2].shape[3]
        found = []
        for one in moving(region):
            way, column = one.strides[2] * one.dtype.itemsize, 1 if width == 1 else one.strides[3]
            unit = column if isinstance(column, int) and column in (0, 1) else None
            found.append(Stream(one.dtype, ways.index(way) if way in ways else None, unit))
        extras, ends = len(region.extra), len(region.extra) + len(region.outputs)
        return {"extra": tuple(found[:extras]), "outputs": tuple(found[extras:ends]), "others": tuple(found[ends:])}

    def rows(self, one: Operand) -> Rows:
        """Queries, keys or values."""
        pitch, adjacent = one.strides[2] * one.dtype.itemsize, one.strides[3] == 1
        evicting = isinstance(pitch, int) and pitch % _PAGE == 0
        return Rows(one.dtype, adjacent, evicting or not adjacent or one.dtype is not _total(self.region))

    def masking(self) -> Mask | None:
        """The mask, if there is one."""
        one = self.mask
        return None if one is None else Mask(one.dtype, one.strides[2] != 0, one.strides[3] == 1)

    def sizes(self) -> tuple[int, int]:
        """The elements of a key and of a value."""
        depth, width = self.region.inputs[0].shape[3], self.region.inputs[2].shape[3]
        assert isinstance(depth, int) and isinstance(width, int)
        return depth, width


@dataclass(frozen=True, eq=False)
class _Blocked(_Maker):
    """Queries in lanes."""

    block: Block

    def kernel(self) -> Kernel:
        """The stage."""
        q, k = self.region.inputs[:2]
        form, panels = self.form, dim.ceildiv(q.shape[2], self.block.columns)
        values = self.values(form.streams) | {"panels": panels, "key_block": self._key_block(k.shape[2])}
        values |= {f"group{number}": way for number, way in enumerate(self._ways())}
        stage = Stage(source(form), ordered(form.names, values), q.shape[0] * q.shape[1] * panels)
        return Kernel((stage,), max(one.places["end"] for one in (form, form.narrowed) if one))

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
        op, region, ways = self.op, self.region, self._ways()
        q, k, v = region.inputs[:3]
        streams, (depth, width) = self.streams(ways), self.sizes()
        return Form(
            isa=self.isa,
            total=_total(region),
            block=self.block,
            keys=self._most_keys(),
            depth=depth,
            width=width,
            q=replace(self.rows(q), copied=False),
            k=self.rows(k),
            v=self.rows(v),
            mask=self.masking(),
            scale=op.scale,
            softcap=op.softcap,
            causal=op.causal,
            blind=op.blind,
            groups=len(ways),
            body=region.body,
            extra=streams["extra"],
            outputs=streams["outputs"],
            indices=tuple(zip(asked(region), streams["others"], strict=True)),
            around=surroundings(region, (), frozenset()),
            narrow=_narrow(self.block, self.isa, region),
        )

    def _most_keys(self) -> int:
        """As many keys as have their scores in half of the first cache."""
        line = self.block.columns * _total(self.region).itemsize
        return max(1, self.isa.l1 // 2 // line // self.block.rows) * self.block.rows


@dataclass(frozen=True, eq=False)
class _Sliced(_Maker):
    """Elements of keys in lanes."""

    def kernel(self) -> Kernel:
        """A stage of slices, and one that joins them."""
        q, k = self.region.inputs[:2]
        form, queries = self.form, dim.product(q.shape[:3])
        slices = dim.maximum(1, dim.ceildiv(k.shape[2], _KEYS))
        each = dim.ceildiv(dim.ceildiv(k.shape[2], slices), form.part.lanes) * form.part.lanes
        values = self.values(form.streams) | {"slices": slices, "slice_keys": each, "@partial": Workspace()}
        first = Stage(slice_source(form.part), ordered(form.part.names, values), queries * slices)
        second = Stage(join_source(form), ordered(form.names, values), queries)
        scratch = max(form.part.scratch, form.part.record)
        return Kernel((first, second), scratch, queries * slices * form.part.record)

    @property
    def form(self) -> Join:
        """What the code depends on."""
        op, region = self.op, self.region
        q, k, v = (replace(self.rows(one), copied=False) for one in region.inputs[:3])
        streams, (depth, width) = self.streams(()), self.sizes()
        part = Slice(
            isa=self.isa,
            total=_total(region),
            lanes=_lanes(region, self.isa),
            keys=_KEYS,
            depth=depth,
            width=width,
            q=q,
            k=k,
            v=v,
            mask=self.masking(),
            scale=op.scale,
            softcap=op.softcap,
            causal=op.causal,
        )
        around = surroundings(region, (), frozenset())
        indices = tuple(zip(asked(region), streams["others"], strict=True))
        return Join(part, op.blind, region.body, streams["extra"], streams["outputs"], indices, around)
