"""Which changes are made to a graph, in which order: every pipeline is a value on this screen."""

from __future__ import annotations

from tenfold.ir import dtype as dt
from tenfold.options import Options
from tenfold.passes.absorb import ABSORB
from tenfold.passes.algebra import CANONICAL, MERGING
from tenfold.passes.behind import NormsBehind
from tenfold.passes.branches import MergeConvolutions
from tenfold.passes.channels import CHANNELS
from tenfold.passes.clean import IDENTITIES, CommonSubexpressions, DeadCode
from tenfold.passes.fold import FOLDING
from tenfold.passes.lines import BY_LINES
from tenfold.passes.lookup import LOOKUP
from tenfold.passes.merge import MergeProducts
from tenfold.passes.movement import ALIGN, MOVEMENT
from tenfold.passes.narrow import Narrow
from tenfold.passes.pages import PAGES
from tenfold.passes.pairs import PairProducts
from tenfold.passes.precision import Widen
from tenfold.passes.recognise import RECOGNISE
from tenfold.passes.rows import ROWS, repeat_late
from tenfold.passes.sink import SINK
from tenfold.passes.squeeze import GatesTaken, MeansTold
from tenfold.passes.stretches import IN_STRETCHES
from tenfold.passes.turn import turn_by_partners
from tenfold.passes.vectors import AS_MATRICES, BY_VECTORS
from tenfold.passes.whole import WHOLE
from tenfold.rewrite.pipeline import Pipeline, Rewrite
from tenfold.target import Target

SIMPLER = FOLDING + IDENTITIES + CANONICAL + MOVEMENT
"""What simplifies graphs whose composites are apart: nothing leaves the rows that it is computed in."""

SIMPLIFY = SIMPLER + CHANNELS
TURNING = (turn_by_partners,)
REPEATING = (repeat_late,)
RULES = (
    SIMPLIFY
    + RECOGNISE
    + LOOKUP
    + ABSORB
    + MERGING
    + SINK
    + ALIGN
    + TURNING
    + BY_LINES
    + BY_VECTORS
    + AS_MATRICES
    + WHOLE
    + IN_STRETCHES
    + PAGES
    + ROWS
    + REPEATING
)
"""Every rule there is."""

PORTABLE = Pipeline(
    DeadCode(),
    CommonSubexpressions(),
    Rewrite("simplify", SIMPLIFY),
    CommonSubexpressions(),
    Rewrite("recognise", SIMPLIFY + RECOGNISE),
    Rewrite("absorb", SIMPLIFY + LOOKUP + ABSORB + MERGING),
    Rewrite("sink", SIMPLIFY + SINK),
    CommonSubexpressions(),
    DeadCode(),
)
"""What is done for every target. Chains are recognised before constants merge across their ends."""

OUTGROWN = 1 << 20
"""Bytes of a matrix that a core's second cache does not hold."""

CPU = Pipeline(
    MergeProducts(least=OUTGROWN),
    MergeConvolutions(),
    DeadCode(),
    MeansTold(dtype=dt.f32, alone=True),
    Rewrite("whole numbers", FOLDING + WHOLE),
    Rewrite("lines", BY_LINES + BY_VECTORS + IN_STRETCHES),
    GatesTaken(dtype=dt.f32, alone=True),
)
"""What is done for CPUs besides. Storage orders are chosen with the regions, not written into the graph. Products by
larger matrices are read from memory: as one they are read in one go.
"""

TIDY = Pipeline(CommonSubexpressions(), Rewrite("simplify", SIMPLIFY + REPEATING), DeadCode())
CUDA = (
    Pipeline(Rewrite("pages", PAGES), Rewrite("vectors", AS_MATRICES), Rewrite("rows", ROWS), MergeProducts())
    + Pipeline(Rewrite("turn", TURNING), Rewrite("align", SIMPLIFY + ALIGN))
    + TIDY
)
"""What is done for NVIDIA GPUs besides: fewer, larger products, fewer kernels, what follows products done as their
results lie, and no keys read behind a sequence's end.
"""

NARROW = {dtype.name: CUDA + Pipeline(Narrow(dtype=dtype)) + TIDY for dtype in (dt.f16, dt.bf16)}
"""The same, where 16 bits are asked for."""
BEHIND = {
    dtype.name: NARROW[dtype.name]
    + Pipeline(NormsBehind(dtype=dtype), MeansTold(dtype=dtype), GatesTaken(dtype=dtype))
    + TIDY
    + Pipeline(PairProducts(dtype=dtype))
    + TIDY
    for dtype in (dt.f16, dt.bf16)
}
"""The same, for machines whose products can tell the moments of the rows that they make, and the like."""
PAIRED = CUDA + Pipeline(PairProducts(dtype=dt.f16), PairProducts(dtype=dt.bf16)) + TIDY
"""What is done there to models as they are: halves of products in 16 bits meet before they are rounded."""
TELLING = "sm_90"
"""The level of such machines."""


def for_precision(options: Options) -> Pipeline:
    """The passes before PORTABLE that an option of precision asks for."""
    return Pipeline(Widen()) if options.precision == "f32" else Pipeline()


def for_target(target: Target, options: Options) -> Pipeline:
    """The passes that follow PORTABLE for a target."""
    if target.kind == "cpu":
        return CPU
    telling = target.level == TELLING
    return (BEHIND if telling else NARROW).get(options.precision, PAIRED if telling else CUDA)
