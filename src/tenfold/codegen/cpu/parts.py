"""How a contraction is cut into parts: enough for every thread, alike, and each worth fetching its share of A and B."""

from __future__ import annotations

from collections.abc import Mapping

from tenfold.codegen.cpu.inplace import is_stream
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.microkernel import Block
from tenfold.codegen.cpu.product import Product
from tenfold.codegen.region import THREADS
from tenfold.ir import dim
from tenfold.ir.dim import Size

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
_TALL = 8
"""The least blocks of rows in a part that reads a B beyond the second cache."""
_LOW = 2
"""Blocks of rows in a part whose sums of many terms are done in one go: B comes from the last cache."""
_COPIES = 4
"""The most parts for each thread, by columns, where each copies its rows."""
_WIDE = 4096
"""The bytes of B's rows that are worth a part of their own, of a stream's twice as many: memory is fast along rows."""
_LARGE, _CROWD = 4, 4
"""How many second caches a B fills that more than so many threads had better not all fetch whole: that counts for more
than parts in plenty, which even out what disturbs a thread.
"""
_FOREIGN = 2
"""How many times as long a byte takes that another thread has just written as one of B."""
_DOUBLINGS = 4


def parts_of(product: Product, isa: Isa, block: Block, *, copied: bool, low: bool) -> dict[str, Size]:
    """Into how many parts each dimension is cut: rows first, into tall parts if B fills much of the second cache and
    the product does not say otherwise, or columns alone if threads share them better and second caches hold all rows;
    where each part copies its rows (`copied`), into as many parts as they give, and columns into few; into low parts
    where sums of many terms are done in one go (`low`); all of them into as many as every thread takes alike.
    """
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
    blocks = 1 if product.layout else dim.ceildiv(rows, block.rows)
    few = dim.minimum(panels, _COPIES * THREADS) if copied or (low and blocks != 1) else panels
    if product.layout == "rows":
        wide = _WIDE * (1 + is_stream(product.layout, product.lines, product.far))
        few = dim.minimum(panels, dim.maximum(THREADS, columns * product.b_dtype.itemsize // wide))
    counts = {"row_parts": blocks, "column_parts": few}
    if product.cut == "columns":
        counts = dict(reversed(counts.items()))
    elif not product.cut and low:
        counts["row_parts"] = dim.ceildiv(rows, _LOW * block.rows)
    elif not product.cut and not copied and isinstance(b_bytes, int) and b_bytes > isa.l2 // 2:
        tall = dim.maximum(1, rows // (_TALL * block.rows))
        a_bytes = rows * terms * product.a_dtype.itemsize
        near = isinstance(a_bytes, int) and a_bytes <= isa.l2 // 2
        counts["row_parts"] = dim.select(_uneven(blocks, panels), 1, tall) if near else tall
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


def _uneven(blocks: Size, panels: Size) -> Size:
    """Whether few threads can share panels of columns evenly, but not blocks of rows."""
    odd, even = dim.less(0, blocks % THREADS), dim.less(panels % THREADS, 1)
    return dim.logical_and(dim.less(THREADS, _CROWD + 1), dim.logical_and(odd, even))


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
