"""Products of matrices in f32 by Strassen's seven products of halves: fewer than their definition takes, for errors a
little greater.

The results differ from the exact ones by at most `ops.strassen.error_bound`; usually about twice as much as sums in f32
do anyway. Rows are taken in pairs, those of a sequence among themselves: an infinity or NaN in one spreads to the
other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu import gemm
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.lines import surrounding_arguments, surroundings
from tenfold.codegen.cpu.microkernel import Block, blocks_of
from tenfold.codegen.cpu.packing import view_recipe
from tenfold.codegen.cpu.product import Product, asked, merged, refuse, streams_of, ways
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.cpu.strassen.products import SUMS, Form, source
from tenfold.codegen.region import THREADS, Anchored, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import f32
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Pad, Reshape, Transpose
from tenfold.ops.strassen import StrassenFactors
from tenfold.target import Target

_SIZE = f32.itemsize
_GRAIN = 1 << 19
"""Multiplications of about 10 µs: less is not worth a part of its own."""
_MOST = 64
"""The most pairs of rows in a stretch."""
_HALF = 512
"""The most terms of half a chunk."""
_PARTS = 2
"""Parts for each thread, at least."""
_GATHERED, _SCATTERED = 18.0, 30.0
"""Cycles a vector, about: of four halves gathered, of four results made and written."""
_CALL, _LATENCY = 60, 4
"""Cycles of a call of the micro-kernel beside its products, about; the fewest of a term."""
_BANDWIDTH = 1.5
"""Bytes of factors that a thread gets from memory in a cycle while others do, about."""
_GAIN = 0.9
"""The share of the definition's cycles that this may take to be worth its errors."""
_FEWEST = 512
"""The fewest rows that are worth weights of 1.75 times the size beside those they came from."""
_THREE, _FEWER = 3, 1.01
"""Vectors to a row that do best, where they leave few lanes idle; what others cost beside them."""
_BLOCKS = 3
"""The most blocks that are offered."""


class Strassen:
    """MatMul with constant factors, in f32, of a known number of many rows: where it seems faster than the sums that
    define it.
    """

    name = "strassen"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Several blocks, the best guess first; a Refusal for what is no such product, or not worth it."""
        if not isinstance(region, Anchored):
            return Refusal("no product of matrices")
        reason = _refuse(region) or refuse(region)
        if reason:
            return reason if isinstance(reason, Refusal) else Refusal(reason)
        rows = dim.product(region.domain[:-1])
        if not isinstance(rows, int) or rows < _FEWEST:
            return Refusal(f"{rows} rows are not worth larger weights")
        isa = isa_of(target)
        every = [_Problem(region, isa, block) for block in blocks_of(isa, f32) if block.rows > 1]
        found = [one for one in every if one.cycles < _GAIN * one.defined]
        found.sort(key=lambda one: one.cycles * (1 if one.block.vectors == _THREE else _FEWER))
        tactics = [Tactic(self.name, (("block", str(one.block)),)) for one in found[:_BLOCKS]]
        return tactics or Refusal("the product saved is not worth the sums")

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """One stage."""
        assert isinstance(region, Anchored)
        isa = isa_of(target)
        block = {str(one): one for one in blocks_of(isa, f32)}[str(tactic["block"])]
        return _Problem(region, isa, block).kernel()


STRATEGY = Strassen()


def _refuse(region: Anchored) -> str:
    if not isinstance(region.anchor, MatMul):
        return "no product of matrices"
    a, b = region.inputs
    if any(one.dtype is not f32 for one in (a, b)) or region.body.inputs[0] is not f32:
        return "not of f32"
    if view_recipe(b) is None:
        return "the factors are no constant"
    if len(a.shape) < 2 or len(b.shape) != 2 or a.strides[-1] != 1:
        return "no rows of adjacent terms, or factors of their own"
    terms, *others = (*b.shape, region.domain[-2])
    if not all(isinstance(size, int) for size in (terms, *others)):
        return "sizes are not known"
    assert isinstance(terms, int)
    return "" if _chunks(terms) else "terms do not come in halves of whole vectors"


def _chunks(terms: int) -> int:
    """Into how many chunks terms are divided, each with two halves of 16 terms at least; 0 if they can't be."""
    fitting = (count for count in range(1, terms // 32 + 1) if terms % (2 * count) == 0)
    return next((count for count in fitting if terms // (2 * count) <= _HALF), 0)


def _known(size: Size) -> int:
    assert isinstance(size, int)
    return size


@dataclass(frozen=True)
class _Problem:
    """A product to be done by a micro-kernel of that block."""

    region: Anchored
    isa: Isa
    block: Block

    @functools.cached_property
    def product(self) -> Product:
        """The contraction that it is."""
        found = gemm.product_of(self.region, self.isa, self.block, "")
        assert not merged(found.batches)
        return replace(found, rows=merged(found.rows))

    @property
    def terms(self) -> int:
        """Terms of a sum."""
        return _known(self.region.inputs[1].shape[0])

    @property
    def columns(self) -> int:
        """Columns of the result."""
        return _known(self.region.inputs[1].shape[1])

    @property
    def chunks(self) -> int:
        """Chunks of terms."""
        return _chunks(self.terms)

    @property
    def half(self) -> int:
        """Terms of half a chunk."""
        return self.terms // (2 * self.chunks)

    @property
    def panels(self) -> int:
        """Pairs of panels."""
        return -(-self.columns // (2 * self.block.columns))

    @property
    def unit(self) -> int:
        """Rows that come in pairs among themselves."""
        return _known(self.region.domain[-2])

    @functools.cached_property
    def rows(self) -> Size:
        """All rows."""
        return dim.product(axis.size for axis in self.product.rows)

    @property
    def pairs(self) -> Size:
        """All pairs of rows."""
        return self.rows // self.unit * -(-self.unit // 2)

    @property
    def pitch(self) -> int:
        """Bytes from a gathered line to the next pair's: those of a block in different sets of the first cache."""
        size = self.half * _SIZE
        size += -size % 64
        return size + 64 * (size % 128 == 0)

    @property
    def line(self) -> int:
        """Bytes of a pair's products with a pair of panels for one sum."""
        return self.block.columns * _SIZE

    @property
    def stretch(self) -> int:
        """Pairs worked on at a time: with the products of a pair of panels they fill most of the second cache, or half
        of it where products are kept.
        """
        share = self.isa.l2 * 7 // 8 if self.chunks == 1 else self.isa.l2 // 2
        fitting = min(_MOST, share // (SUMS * (self.pitch + self.line)))
        pairs = self.pairs
        if isinstance(pairs, int):
            fitting = min(fitting, -(-pairs // self.block.rows) * self.block.rows)
        return max(1, fitting // self.block.rows) * self.block.rows

    @property
    def kept(self) -> int:
        """Pairs of panels whose products are kept while chunks of terms are added."""
        left = self.isa.l2 * 7 // 8 - SUMS * self.stretch * self.pitch
        return max(1, left // (SUMS * self.stretch * self.line))

    @property
    def defined(self) -> float:
        """Cycles of the sums that define it on one thread, about."""
        lines = self.unit * self.terms * -(-self.columns // self.isa.lanes(_SIZE))
        return max(float(lines), self.terms * self.columns * _SIZE / _BANDWIDTH)

    @functools.cached_property
    def cycles(self) -> float:
        """Cycles on one thread, about, for one unit."""
        block, pairs = self.block, -(-self.unit // 2)
        some = min(pairs, self.stretch)
        whole, rest = divmod(some, block.rows)
        heights = [block.rows] * whole + [min(one for one in block.heights if one >= rest)] * (rest > 0)
        wide = block.lanes / self.isa.lanes(_SIZE)
        each = sum(self.half * max(rows * block.vectors * wide, _LATENCY) + _CALL for rows in heights)
        products = each * self.chunks * SUMS * self.panels * pairs / some
        factors = SUMS / 4 * self.terms * self.columns * _SIZE / _BANDWIDTH
        lanes = self.isa.lanes(_SIZE)
        gathered = pairs * self.terms / 2 / lanes * _GATHERED
        scattered = pairs * -(-self.columns // (2 * lanes)) * _SCATTERED
        return max(products, factors) + gathered + scattered

    def kernel(self) -> Kernel:
        """The kernel."""
        product = self.product
        groups = ways(product)
        form = self._form(groups)
        values, scratch = self._places(form)
        values |= self._numbers(groups) | self._parts()
        parts = [values["row_parts"], values["column_parts"]]
        return Kernel((Stage(source(form), ordered(form.names, values), dim.product(parts)),), scratch)  # type: ignore[arg-type]

    def _form(self, groups: list[tuple[Size, ...]]) -> Form:
        region, streams = self.region, streams_of(self.product, groups)
        extras, ends = len(region.extra), len(region.extra) + len(region.outputs)
        return Form(
            isa=self.isa,
            block=self.block,
            axes=len(self.product.rows),
            groups=len(groups),
            body=region.body,
            extra=tuple(streams[:extras]),
            outputs=tuple(streams[extras:ends]),
            indices=tuple(zip(asked(region), streams[ends:], strict=True)),
            around=surroundings(region, (), frozenset()),
        )

    def _places(self, form: Form) -> tuple[dict[str, Argument], int]:
        """Where everything lies in scratch, and how much there is."""
        stretch, rows = self.stretch, 2 * self.stretch
        kept = self.kept if self.chunks > 1 else 1
        apart = stretch * self.line + 64
        sizes = {
            "table": 8 * rows + self.isa.vector_bytes,
            "offsets": 8 * rows * form.groups,
            "zeros": 2 * self.half * _SIZE + self.isa.vector_bytes,
            "seen": SUMS * (stretch * self.pitch + 64),
            "lines": 8 * SUMS * stretch,
            "products": SUMS * apart * kept,
            "made": 4 * self.line,
        }
        values: dict[str, Argument] = {}
        end = 0
        for name, size in sizes.items():
            values[f"at.{name}"] = end
            end += size + -size % 64
        values |= {"seen.pair": self.pitch, "seen.sum": stretch * self.pitch + 64, "products.sum": apart}
        values |= {"products.panel": SUMS * apart if self.chunks > 1 else 0, "stretch": stretch, "row_stretch": rows}
        return values | {"panel_stretch": kept if self.chunks > 1 else 1 << 40}, end

    def _numbers(self, groups: list[tuple[Size, ...]]) -> dict[str, Argument]:
        product, size = self.product, _SIZE
        values: dict[str, Argument] = {
            "@a": product.a,
            "@b": self._factors(),
            "columns": self.columns,
            "pairs": self.pairs,
            "unit": self.unit,
            "pairs.unit": -(-self.unit // 2),
            "half": self.half,
            "chunks": self.chunks,
        }
        for number, axis in enumerate(product.rows):
            values |= {f"size{number}": axis.size, f"step{number}": axis.a * size}
            values |= {f"group{group}.step{number}": way[number] for group, way in enumerate(groups)}
        for (name, operand), step in zip(product.streams.items(), product.columns.streams, strict=True):
            values[name] = operand.offset if name.startswith("@index") else address(operand)
            values[f"column.{name}"] = step * operand.dtype.itemsize
        return values | surrounding_arguments(self.region, address)

    def _parts(self) -> dict[str, Argument]:
        """Stretches of rows as parts, as many for each thread; where they are few, pairs of panels too."""
        work = self.pairs * (self.terms * self.columns) // _GRAIN
        most = dim.select(dim.less(THREADS, 2), 1, _PARTS * THREADS)
        wanted = dim.maximum(1, dim.minimum(most, work))
        stretches, blocks = (dim.ceildiv(self.pairs, size) for size in (self.stretch, self.block.rows))
        alike = dim.minimum(blocks, dim.ceildiv(stretches, THREADS) * THREADS)
        rows = dim.select(dim.less(stretches, THREADS), stretches, alike)
        columns = dim.maximum(1, dim.minimum(self.panels, dim.ceildiv(wanted, rows)))
        rows = dim.maximum(rows, dim.minimum(blocks, dim.ceildiv(wanted, columns)))
        return {"row_parts": rows, "column_parts": columns}

    def _factors(self) -> Packed:
        """The factors' sums: [pair of panels][chunk][sum][term][column]."""
        w, width = self.region.inputs[1], self.block.columns
        padded = Pad((0, 0), (0, self.panels * 2 * width - self.columns))
        blocks = Reshape((self.chunks, 2, self.half, self.panels, 2, width))
        sums = (Transpose((3, 0, 2, 5, 1, 4)), StrassenFactors(), Transpose((0, 1, 4, 2, 3)))
        return Packed(w.value, (*(view_recipe(w) or ()), padded, blocks, *sums))
