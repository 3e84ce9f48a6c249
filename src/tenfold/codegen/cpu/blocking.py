"""The kernel of a contraction: how much is worked on at a time, and where everything lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.body import LIGHT, expand_body, weight
from tenfold.codegen.cpu.contraction import Form, source
from tenfold.codegen.cpu.inplace import stretch_in_place
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import surrounding_arguments, surroundings
from tenfold.codegen.cpu.microkernel import Block, block_of, sum_of
from tenfold.codegen.cpu.outsite import Stream, fits_registers
from tenfold.codegen.cpu.parts import parts_of
from tenfold.codegen.cpu.product import Product, Window, asked, merged, streams_of, ways
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.strategy import Argument, Kernel, Packed, Stage
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType

_SHORT, _SHORTER = 1024, 288
"""The most terms of sums that are worth a body in registers: a light one, a heavy one."""
WAYS, PAGE = 8, 4096
"""So many rows a multiple of so many bytes apart share the first cache."""
_STRETCH = 16
"""The most blocks in a stretch of rows."""


@dataclass(frozen=True)
class Stretches:
    """How much is worked on at a time: rows (a multiple of a block's), panels (0: all, as the terms are), terms."""

    rows: int
    panels: int
    terms: int


def kernel(product: Product, isa: Isa) -> Kernel:
    """The kernel of a contraction."""
    product = replace(product, batches=merged(product.batches), rows=merged(product.rows))
    if product.columns.size == 1:
        product = replace(product, columns=replace(product.columns, streams=(1,) * len(product.streams)))
    groups = ways(product)
    stretches = _stretches(product, isa)
    form = _form(product, isa, groups, stretches)
    values, scratch = _places(product, form, stretches)
    values |= _sizes(product, form, groups)
    parts = parts_of(product, isa, form.block, copied=form.copied, low=_in_one_go(product, isa))
    values |= parts
    stage = Stage(source(form), ordered(form.names, values), dim.product(parts.values()))
    return Kernel((*product.before, stage), scratch, product.workspace)


def _total(product: Product) -> DType:
    return sum_of(product.a_dtype, product.b_dtype)


def _block(product: Product, isa: Isa) -> Block:
    return product.block or block_of(isa, _total(product), product.columns.size)


def _stretches(product: Product, isa: Isa) -> Stretches:
    """Stretches for which a panel of B, the stretch of A and its sums share the second cache; where sums are taken up
    again, fewer rows, so that those of more panels stay there.
    """
    total = _total(product)
    block = _block(product, isa)
    width = block.columns * total.itemsize
    if product.layout:
        return _stretches_in_place(product, isa, block)
    terms = product.columns.size if product.separate else product.terms
    most_terms = isa.l2 // 8 // width
    windowed = any(axis.window for axis in product.rows) or product.separate
    known = terms if isinstance(terms, int) else most_terms
    lines = dim.product(axis.size for axis in product.rows)
    once = (isinstance(lines, int) and lines <= block.rows) or _in_one_go(product, isa)
    if not windowed and not once and known > most_terms * 3 // 2:
        pieces = -(-known // (most_terms * 9 // 8))
        known = -(-known // pieces)
    blocked = not windowed and (not isinstance(terms, int) or known < terms)
    fitting = isa.l2 * (9 if blocked else 12) // 32 // max(1, known * total.itemsize)
    rows = min(fitting, _STRETCH * block.rows, isa.l1 * 2 // (8 * product.taps)) // block.rows * block.rows
    rows = max(block.rows, rows)
    return Stretches(rows, max(1, isa.l2 // 4 // (width * rows)) if blocked else 0, max(1, known))


def _stretches_in_place(product: Product, isa: Isa, block: Block) -> Stretches:
    """All rows, and terms in stretches whose sums stay in the second cache."""
    lines = product.lines
    rows = -(-max(1, lines) // block.rows) * block.rows
    once = lines <= block.rows and product.term == 1 and product.a_dtype == _total(product)
    terms = stretch_in_place(product.layout, lines, product.terms, once, product.far)
    if dim.known_equal(terms, product.terms):
        return Stretches(rows, 0, max(1, terms))
    return Stretches(rows, max(1, isa.l2 // 4 // (block.columns * _total(product).itemsize * rows)), terms)


def _in_one_go(product: Product, isa: Isa) -> bool:
    """Whether sums of many terms are not taken up again, and A is read in place: few rows meet a B that the last cache
    holds, so that terms in stretches would cost copies of A, and save nothing.
    """
    block, total, terms, columns = _block(product, isa), _total(product), product.terms, product.columns.size
    if product.layout:
        return False
    plain = product.term == 1 and product.a_dtype == total and not product.separate
    windowed = any(axis.window for axis in product.rows)
    if not plain or windowed or not isinstance(terms, int) or not isinstance(columns, int):
        return False
    panel = terms * block.columns * total.itemsize
    held = isa.l2 * 3 // 16 < panel <= isa.l2 * 3 // 4 and terms * columns * total.itemsize <= isa.l3 // 2
    return held and (block.rows <= WAYS or not _crowded(product))


def _crowded(product: Product) -> bool:
    """Whether rows are known to evict each other from the first cache."""
    pitch = product.rows[-1].a * product.a_dtype.itemsize if product.rows else 1
    return isinstance(pitch, int) and pitch != 0 and pitch % PAGE == 0


def _form(product: Product, isa: Isa, groups: list[tuple[Size, ...]], stretches: Stretches) -> Form:
    streams = streams_of(product, groups)
    region = product.region
    extras, ends = len(region.extra), len(region.extra) + len(region.outputs)
    return Form(
        isa=isa,
        a=product.a_dtype,
        b=product.b_dtype,
        total=_total(product),
        block=_block(product, isa),
        separate=product.separate,
        windows=tuple(axis.window is not None for axis in product.rows),
        padded=product.padded,
        copied=_copied(product, isa, stretches),
        batches=len(product.batches),
        groups=len(groups),
        body=region.body,
        extra=tuple(streams[:extras]),
        outputs=tuple(streams[extras:ends]),
        indices=tuple(zip(asked(region), streams[ends:], strict=True)),
        around=surroundings(region, (), frozenset()),
        short=_short(product, isa, streams, stretches),
        far=_far(product, isa) and _short(product, isa, streams, stretches),
        onward=_onward(product, isa),
        layout=product.layout,
        asking=product.far,
    )


def _onward(product: Product, isa: Isa) -> bool:
    """Whether B is a constant that is read from the last cache or from memory, so that a part's further blocks of rows
    can ask for what lies behind it: weights lie in the order of the steps that read them. Blocks of several vectors to
    a row would ask for more than memory gives.
    """
    constant = isinstance(product.b, Packed) and not product.batches and not product.separate
    size = _packed_bytes(product, isa)
    return constant and _block(product, isa).vectors == 1 and isinstance(size, int) and isa.l2 // 2 < size


def _packed_bytes(product: Product, isa: Isa) -> Size:
    """The bytes of all panels of B."""
    width = _block(product, isa).columns
    panels = dim.ceildiv(product.columns.size, width)
    return panels * width * product.terms * product.taps * product.b_dtype.itemsize


def _far(product: Product, isa: Isa) -> bool:
    """Whether the results are known to be more than the second cache keeps, in several panels."""
    domain = dim.product(product.region.domain)
    written = domain * product.region.outputs[0].dtype.itemsize
    several = product.columns.size != _block(product, isa).columns
    return several and isinstance(written, int) and written > isa.l2


def _short(product: Product, isa: Isa, streams: Sequence[Stream], stretches: Stretches) -> bool:
    """Whether sums are short, whole when a block is done, and the body can be applied to them in registers."""
    terms, region = product.terms * product.taps, product.region
    most = _SHORT if weight(expand_body(region.body)) <= LIGHT else _SHORTER
    short = isinstance(terms, int) and terms <= most and not product.separate and not stretches.panels
    around, count = surroundings(region, (), frozenset()), len(region.extra)
    return short and fits_registers(region.body, streams[:count], streams[count:], around, isa)


def _copied(product: Product, isa: Isa, stretches: Stretches) -> bool:
    """Whether stretches of A go through scratch: to be widened, gathered, cut into stretches of terms, or spread where
    rows a multiple of 4 KiB apart would evict each other from the first cache.
    """
    if product.separate or any(axis.window for axis in product.rows):
        return False
    if stretches.panels or product.term != 1 or product.a_dtype != _total(product):
        return True
    width = _block(product, isa).columns
    several = not isinstance(product.columns.size, int) or product.columns.size > width
    return _crowded(product) and several and not _in_one_go(product, isa)


def _places(product: Product, form: Form, stretches: Stretches) -> tuple[dict[str, Argument], int]:
    """Where everything lies in scratch, and how much there is."""
    block, total = form.block, form.total
    sums = block.rows * block.columns * total.itemsize
    blocks = stretches.rows // block.rows
    pitch = -(-stretches.terms * total.itemsize // 64) * 64
    pitch += 64 * (pitch % 128 == 0)
    zeros = _zero_bytes(product, form) if form.padded else 0
    regions = {
        "sums": sums * blocks * stretches.panels if stretches.panels else sums,
        "at.offsets": 8 * stretches.rows * form.groups,
        "at.table": 8 * stretches.rows * product.taps + form.isa.vector_bytes,
        "at.rows": (1 + len(product.rows)) * (8 * block.rows + form.isa.vector_bytes) * any(form.windows),
        "at.zeros": zeros,
        "at.lines": 8 * stretches.rows * form.copied,
        "at.copies": pitch * stretches.rows * form.copied,
    }
    values: dict[str, Argument] = {}
    end = 0
    for name, size in regions.items():
        values[name] = end
        end += size + -size % 64
    values |= {
        "sums.step": sums if stretches.panels else 0,
        "copies.step": pitch,
        "zeros": zeros,
        "row_stretch": stretches.rows,
        "panel_stretch": stretches.panels or 1 << 40,
        "term_stretch": stretches.terms,
    }
    return values, end


def _zero_bytes(product: Product, form: Form) -> int:
    terms = product.columns.size if product.separate else product.terms
    assert isinstance(terms, int), "a padded contraction knows its channels"
    size = terms * product.a_dtype.itemsize
    return size + -size % form.isa.vector_bytes


def _sizes(product: Product, form: Form, groups: list[tuple[Size, ...]]) -> dict[str, Argument]:
    size = product.a_dtype.itemsize
    values: dict[str, Argument] = {
        "@a": product.a,
        "@b": product.b,
        "rows": dim.product(axis.size for axis in product.rows),
        "columns": product.columns.size,
        "terms": product.terms,
        "taps": product.taps,
        "batches": dim.product(axis.size for axis in product.batches),
        "a.term": product.term * size,
        "b.pitch": product.pitch * product.b_dtype.itemsize,
        "b.bytes": _packed_bytes(product, form.isa),
    }
    for number, axis in enumerate(product.rows):
        step = axis.window.step if axis.window else axis.a
        values |= {f"size{number}": axis.size, f"step{number}": step * size}
        values |= {f"group{group}.step{number}": way[number] for group, way in enumerate(groups)}
        if axis.window:
            values |= _window(number, axis.window)
    values |= surrounding_arguments(product.region, address)
    streams = product.streams
    for number, axis in enumerate(product.batches):
        values |= {f"batch{number}.size": axis.size, f"batch{number}.@a": axis.a * size}
        values[f"batch{number}.@b"] = axis.b * product.b_dtype.itemsize
        for (name, operand), step in zip(streams.items(), axis.streams, strict=True):
            values[f"batch{number}.{name}"] = step * operand.dtype.itemsize
    for (name, operand), step in zip(streams.items(), product.columns.streams, strict=True):
        values[name] = operand.offset if name.startswith("@index") else address(operand)
        values[f"column.{name}"] = step * operand.dtype.itemsize
    return values


def _window(number: int, window: Window) -> dict[str, Argument]:
    return {
        f"taps{number}": window.taps,
        f"stride{number}": window.stride,
        f"dilation{number}": window.dilation,
        f"padding{number}": window.padding,
        f"extent{number}": window.extent,
    }
