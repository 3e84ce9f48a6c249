"""Which changes are made to a graph, in which order: every pipeline is a value on this screen."""

from __future__ import annotations

from tenfold.passes.algebra import ALGEBRA
from tenfold.passes.clean import IDENTITIES, CommonSubexpressions, DeadCode
from tenfold.passes.fold import FOLDING
from tenfold.passes.movement import MOVEMENT
from tenfold.rewrite.pipeline import Pipeline, Rewrite

SIMPLIFYING = FOLDING + IDENTITIES + ALGEBRA + MOVEMENT

RULES = SIMPLIFYING
"""Every rule there is."""

PORTABLE = Pipeline(
    DeadCode(),
    CommonSubexpressions(),
    Rewrite("simplify", SIMPLIFYING),
    CommonSubexpressions(),
)
