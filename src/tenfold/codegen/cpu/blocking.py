"""The kernel of a contraction: how much is worked on at a time, where everything lies, who does what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.contraction import Form, source
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.lines import surrounding_arguments, surroundings
from tenfold.codegen.cpu.microkernel import Block, block_of, sum_of
from tenfold.codegen.cpu.outsite import Stream, fits_registers
from tenfold.codegen.cpu.product import Product, Window, asked, merged, streams_of, ways
from tenfold.codegen.cpu.stage import address, ordered
from tenfold.codegen.region import THREADS
from tenfold.codegen.strategy import Argument, Kernel, Packed, Stage
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType

_GRAIN, _LEAST, _BYTES = 1 << 19, 1 << 18, 1 << 17
"""Floating-point operations that take about 10 µs, and 2 µs, bytes of B that take 2 µs from the second cache: less is
not worth a part of its own, nor one of the first few.
"""
_FIRST = 2
"""The first few parts for each thread."""
_PARTS = 16
"""The most parts for each thread: a stage's last part keeps the other threads waiting."""
_FEW = 4
"""Parts for each thread below which one more or less is felt."""
_SHORT = 288
"""The most terms of sums that are worth a body in registers."""
_TALL = 8
"""The least blocks of rows in a part that reads a B beyond the second cache."""
_LOW = 2
"""Blocks of rows in a part whose sums of many terms are done in one go: B comes from the last cache."""
_WAYS, _PAGE = 8, 4096
"""So many rows a multiple of so many bytes apart share the first cache."""
_COPIES = 4
"""The most parts for each thread, by columns, where each copies its rows."""
_LARGE, _CROWD = 4, 4
"""How many second caches a B fills that more than so many threads had better not all fetch whole: that counts for more
than parts in plenty, which even out what disturbs a thread.
"""
_FOREIGN = 2
"""How many times as long a byte takes that another thread has just written as one of B."""
_DOUBLINGS = 4
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
    parts = _parts(product, isa, form.copied)
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


def _in_one_go(product: Product, isa: Isa) -> bool:
    """Whether sums of many terms are not taken up again, and A is read in place: few rows meet a B that the last cache
    holds, so that terms in stretches would cost copies of A, and save nothing.
    """
    block, total, terms, columns = _block(product, isa), _total(product), product.terms, product.columns.size
    plain = product.term == 1 and product.a_dtype == total and not product.separate
    windowed = any(axis.window for axis in product.rows)
    if not plain or windowed or not isinstance(terms, int) or not isinstance(columns, int):
        return False
    panel = terms * block.columns * total.itemsize
    held = isa.l2 * 3 // 16 < panel <= isa.l2 * 3 // 4 and terms * columns * total.itemsize <= isa.l3 // 2
    return held and (block.rows <= _WAYS or not _crowded(product))


def _crowded(product: Product) -> bool:
    """Whether rows are known to evict each other from the first cache."""
    pitch = product.rows[-1].a * product.a_dtype.itemsize if product.rows else 1
    return isinstance(pitch, int) and pitch != 0 and pitch % _PAGE == 0


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
        short=_short(product, streams, stretches),
        far=_far(product, isa) and _short(product, streams, stretches),
        onward=_onward(product, isa),
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


def _short(product: Product, streams: Sequence[Stream], stretches: Stretches) -> bool:
    """Whether sums are short, whole when a block is done, and the body can be applied to them in registers."""
    terms = product.terms * product.taps
    short = isinstance(terms, int) and terms <= _SHORT and not product.separate and not stretches.panels
    region = product.region
    around = surroundings(region, (), frozenset())
    return short and fits_registers(region.body, streams[: len(region.extra)], streams[len(region.extra) :], around)


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


def _parts(product: Product, isa: Isa, copied: bool) -> dict[str, Size]:
    """Into how many parts each dimension is cut: rows first, into tall parts if B fills much of the second cache and
    the product does not say otherwise; where each part copies its rows, into as many parts as they give, and columns
    into few; all of them into as many as every thread takes alike.
    """
    block = _block(product, isa)
    rows = dim.product(axis.size for axis in product.rows)
    columns = product.columns.size
    batches = dim.product(axis.size for axis in product.batches)
    terms = product.terms * product.taps
    most = dim.select(dim.less(THREADS, 2), 1, _PARTS * THREADS)
    shared = dim.product(axis.size for axis in product.batches if axis.b != 0)
    b_bytes = columns * terms * product.b_dtype.itemsize
    flops = 2 * batches * rows * columns * terms
    work = dim.maximum(flops // _GRAIN, dim.minimum(flops // _LEAST, _FIRST * THREADS))
    work = dim.maximum(work, shared * b_bytes // _BYTES)
    wanted = dim.maximum(1, dim.minimum(most, work))
    apart = dim.product(axis.size for axis in product.batches if axis.a != 0) if product.cut == "rows" else batches
    found = {"batch_parts": dim.maximum(1, dim.minimum(apart, wanted))}
    rest = dim.ceildiv(wanted, found["batch_parts"])
    panels = dim.ceildiv(columns, block.columns)
    low = _in_one_go(product, isa)
    blocks = dim.ceildiv(rows, block.rows)
    few = dim.minimum(panels, _COPIES * THREADS) if copied or (low and blocks != 1) else panels
    counts = {"row_parts": blocks, "column_parts": few}
    if product.cut == "columns":
        counts = dict(reversed(counts.items()))
    elif not product.cut and low:
        counts["row_parts"] = dim.ceildiv(rows, _LOW * block.rows)
    elif not product.cut and not copied and isinstance(b_bytes, int) and b_bytes > isa.l2 // 2:
        counts["row_parts"] = dim.maximum(1, rows // (_TALL * block.rows))
    for name, count in counts.items():
        found[name] = _alike(dim.maximum(1, dim.minimum(count, rest)), count, blocks if name == "row_parts" else 1)
        rest = dim.ceildiv(rest, found[name])
    found["column_parts"] = _even(found["column_parts"], found["batch_parts"] * found["row_parts"], panels)
    found["row_parts"] = _shared(found, wanted, blocks)
    large = isinstance(b_bytes, int) and b_bytes > _LARGE * isa.l2
    if product.cut or product.separate or not large or not dim.known_equal(batches, 1):
        return found
    grid = _fitting(_grid(rows * product.terms * product.a_dtype.itemsize, b_bytes, copied, wanted), blocks, panels)
    crowd = dim.logical_and(dim.less(_CROWD, THREADS), dim.less(THREADS - 1, wanted))
    return found | {name: dim.select(crowd, grid[name], found[name]) for name in grid}


def _grid(a_bytes: Size, b_bytes: Size, copied: bool, wanted: Size) -> dict[str, Size]:
    """Into how many parts many threads cut rows and columns, so that each has the fewest bytes to fetch: rows that
    other threads wrote, and columns of B. A thread's parts lie side by side in its rows.
    """
    rows: Size = 1
    for power in range(_DOUBLINGS):
        more = dim.less(2 * 4**power * b_bytes, _FOREIGN * a_bytes * THREADS)
        rows = dim.select(more, dim.minimum(2 << power, THREADS), rows)
    each = 1 if copied else dim.maximum(1, dim.minimum(_FEW, wanted // THREADS))
    return {"row_parts": rows, "column_parts": dim.ceildiv(THREADS, rows) * each}


def _fitting(grid: Mapping[str, Size], blocks: Size, panels: Size) -> dict[str, Size]:
    """A grid with at most a part for each block of rows and each panel of columns; what columns lack, rows give."""
    rows = dim.maximum(grid["row_parts"], dim.ceildiv(THREADS, panels))
    rows = dim.maximum(1, dim.minimum(blocks, rows))
    each = dim.ceildiv(grid["row_parts"] * grid["column_parts"], rows)
    return {"row_parts": rows, "column_parts": dim.maximum(1, dim.minimum(panels, each))}


def _alike(parts: Size, most: Size, blocks: Size) -> Size:
    """So many parts, or the few more with which all threads get equally many blocks, or nearly so."""
    more = dim.ceildiv(parts, THREADS) * THREADS
    equal = dim.logical_or(dim.less(blocks % THREADS, 1), dim.less(_PARTS * THREADS, blocks))
    return dim.select(dim.logical_and(equal, dim.less(1, parts) * dim.less(more, most + 1)), more, parts)


def _even(parts: Size, others: Size, most: Size) -> Size:
    """So many parts, or the few more with which all threads get equally many, if anything is cut at all."""
    uneven = dim.less(0, parts * others % THREADS)
    more = dim.minimum(most, dim.ceildiv(parts, THREADS) * THREADS)
    return dim.select(dim.logical_and(uneven, dim.less(1, parts * others)), more, parts)


def _shared(found: Mapping[str, Size], wanted: Size, most: Size) -> Size:
    """Into how many parts rows are cut: where every thread has few parts, as many as all get equally many."""
    rows, others = found["row_parts"], found["batch_parts"] * found["column_parts"]
    whole = dim.select(dim.less(THREADS, 2 * wanted), dim.ceildiv(wanted, THREADS) * THREADS, wanted)
    few = dim.less(rows * others, dim.minimum(whole, _FEW * THREADS))
    even = dim.ceildiv(dim.ceildiv(rows * others, THREADS) * THREADS, others)
    return dim.select(few, dim.maximum(rows, dim.minimum(most, even)), rows)
