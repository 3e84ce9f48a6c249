"""Products of matrices: each row of A times packed B, batches that B does not have being merely more rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.blocking import kernel
from tenfold.codegen.cpu.inplace import bands, blocks_in_place, is_far, is_read, layout_of
from tenfold.codegen.cpu.isa import Isa, isa_of
from tenfold.codegen.cpu.microkernel import Block, fitting, sum_of
from tenfold.codegen.cpu.packing import panel_recipe, panel_stage, view_recipe
from tenfold.codegen.cpu.product import Axis, Product, moving, refuse
from tenfold.codegen.cpu.stage import address
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Argument, Kernel, Packed, Refusal, Stage, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ops.matmul import MatMul
from tenfold.target import Target

_BLOCKS = 3
"""The most blocks that are offered."""


@dataclass(frozen=True)
class Way:
    """B packed in panels, or read in place in a `layout` for at most so many `lines` of A, and `when` (1, 0)."""

    layout: str
    lines: int
    when: Size


PACKED = Way("", 0, 1)
"""Always in panels."""


class Gemm:
    """MatMul by the micro-kernel. B is packed at build time if it is a constant, is read in place where rows are
    few, and else packed by a stage ahead; where only the call tells how many rows there are, it chooses.
    """

    name = "gemm"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Several blocks, and parts cut by what seems best, by rows or by columns; a Refusal for what is no MatMul, or
        has types we do not sum.
        """
        if not isinstance(region, Anchored) or not isinstance(region.anchor, MatMul):
            return Refusal("no product of matrices")
        reason = refuse(region)
        if reason:
            return reason
        first, *others = _blocks(region, isa_of(target), _ways(region)[0])[:_BLOCKS]
        choices = [(first, "best"), *((block, "best") for block in others), (first, "rows"), (first, "columns")]
        return [Tactic(self.name, (("block", str(block)), ("cut", cut))) for block, cut in choices]

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        """The kernel: at most a packing stage, then the product; of several ways, a call gives all but one no parts."""
        assert isinstance(region, Anchored)
        isa, (first, *others) = isa_of(target), _ways(region)
        cut = "" if tactic["cut"] == "best" else str(tactic["cut"])
        block = {str(one): one for one in _blocks(region, isa, first)}[str(tactic["block"])]
        found = kernel(product_of(region, isa, block, cut, first), isa)
        if not others:
            return found
        more = [kernel(product_of(region, isa, _blocks(region, isa, way)[0], cut, way), isa) for way in others]
        stages = (
            replace(stage, parts=dim.select(way.when, stage.parts, 0))
            for way, one in zip((first, *others), (found, *more), strict=True)
            for stage in one.stages
        )
        return Kernel(tuple(stages), max(one.scratch for one in (found, *more)), found.workspace)


STRATEGY = Gemm()


def _ways(region: Anchored) -> list[Way]:
    """The ways that some call may take; what is packed comes first."""
    a, b = _matrices(region.inputs[0], row=True), _matrices(region.inputs[1], row=False)
    rows, layout = _rows(a, b), layout_of(b)
    read = is_read(b, layout, rows)
    found = [Way("", 0, dim.logical_not(read))]
    found += [Way(layout, lines, dim.logical_and(read, when)) for lines, when in bands(rows)]
    return [way for way in found if not dim.known_equal(way.when, 0)]


def _blocks(region: Anchored, isa: Isa, way: Way) -> list[Block]:
    """The blocks that could do, the one that seems best first."""
    a, b = region.inputs
    columns = b.shape[-1] if len(b.shape) > 1 else 1
    total = sum_of(a.dtype, b.dtype)
    a, b = _matrices(a, row=True), _matrices(b, row=False)
    if way.layout:
        return blocks_in_place(way.layout, isa, total, way.lines, columns, is_far(b, isa))
    return fitting(isa, total, columns, _rows(a, b), a.shape[-1])


def _rows(a: Operand, b: Operand) -> Size:
    """The rows of A for each matrix of B."""
    rank = max(len(a.shape), len(b.shape))
    lines = zip(_ranked(a, rank).shape[:-1], (*_ranked(b, rank).strides[:-2], 0), strict=True)
    return dim.product(size for size, step in lines if step == 0)


def product_of(region: Anchored, isa: Isa, block: Block, cut: str, way: Way = PACKED) -> Product:
    """A product of matrices as a contraction."""
    a, b = region.inputs
    a, b = _matrices(a, row=True), _matrices(b, row=False)
    rank = max(len(region.domain), len(a.shape), len(b.shape))
    a, b = _ranked(a, rank), _ranked(b, rank)
    domain, streams = _domain(region, rank)
    shared = [axis for axis in range(rank - 2) if b.strides[axis] != 0]
    lies = [b.strides[axis] for axis in shared], address(b), (), 0
    batches, b_argument, before, workspace = (
        lies if way.layout else _packed(b, [(axis, domain[axis]) for axis in shared], isa, block.columns)
    )

    def axis(number: int, b_step: Size = 0) -> Axis:
        a_step = a.strides[number] if number < rank - 1 else 0
        return Axis(domain[number], a_step, b_step, tuple(one[number] for one in streams))

    return Product(
        region=region,
        a=address(a),
        a_dtype=a.dtype,
        b=b_argument,
        b_dtype=b.dtype,
        batches=tuple(axis(number, step) for number, step in zip(shared, batches, strict=True)),
        rows=tuple(axis(number) for number in range(rank - 1) if number not in shared),
        columns=axis(rank - 1),
        terms=a.shape[-1],
        term=1 if a.shape[-1] == 1 else a.strides[-1],
        before=before,
        workspace=workspace,
        block=block,
        cut=cut,
        layout=way.layout,
        lines=way.lines,
        far=bool(way.layout) and is_far(b, isa),
        pitch=b.strides[-2] if way.layout == "rows" else b.strides[-1],
    )


def _packed(
    b: Operand, shared: Sequence[tuple[int, Size]], isa: Isa, width: int
) -> tuple[list[Size], Argument, tuple[Stage, ...], Size]:
    """B in panels: its steps along the shared axes, where it lies, the stage that packs it, and its workspace."""
    matrix = dim.ceildiv(b.shape[-1], width) * width * b.shape[-2]
    sizes = [size for _, size in shared]
    steps = [matrix * dim.product(sizes[place + 1 :]) for place in range(len(sizes))]
    recipe = view_recipe(b)
    if recipe is None:
        stage, size = panel_stage(isa, b, [(size, b.strides[axis]) for axis, size in shared], width, Workspace())
        return steps, Workspace(), (stage,), size
    rank = len(b.shape)
    order = (*range(rank - 2), -1, rank - 2, rank - 1)
    shape = [int(size) for size in b.shape]  # type: ignore[arg-type]
    return steps, Packed(b.value, (*recipe, *panel_recipe(shape, order, width))), (), 0


def _matrices(operand: Operand, row: bool) -> Operand:
    """An operand of rank 1 as a matrix of one row, or of one column."""
    if len(operand.shape) > 1:
        return operand
    (size,), (stride,) = operand.shape, operand.strides
    shape, strides = ((1, size), (0, stride)) if row else ((size, 1), (stride, 0))
    return Operand(operand.value, operand.dtype, shape, strides, operand.offset)


def _ranked(operand: Operand, rank: int) -> Operand:
    """An operand with leading axes that repeat it, up to `rank`; an axis of size 1 has stride 0."""
    missing = rank - len(operand.shape)
    shape = (*(1,) * missing, *operand.shape)
    strides = (*(0,) * missing, *operand.strides)
    batch = tuple(0 if size == 1 else stride for size, stride in zip(shape[:-2], strides, strict=False))
    return Operand(operand.value, operand.dtype, shape, (*batch, *strides[-2:]), operand.offset)


def _domain(region: Anchored, rank: int) -> tuple[list[Size], list[list[Size]]]:
    """The domain and the streams' strides with the axes of size 1 that operands of rank 1 leave out."""
    domain: list[Size] = list(region.domain)
    streams = [list(one.strides) for one in moving(region)]
    ranks = [len(operand.shape) for operand in region.inputs]
    places = [place for place, found in ((rank - 2, ranks[0]), (rank - 1, ranks[1])) if found == 1]
    for place in places:
        domain.insert(place, 1)
        for strides in streams:
            strides.insert(place, 0)
    return domain, streams
