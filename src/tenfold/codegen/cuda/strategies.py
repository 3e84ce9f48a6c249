"""The strategies for NVIDIA GPUs, best first.

Of rows that are reduced: `columns` and `window` take those whose elements lie apart and give one number each (many
elements, few), `reduce` those that fit registers, `spread` few long ones over the whole machine, `sweeps` any. Of
products: `contraction` by tensor cores, `plain` without.
"""

from __future__ import annotations

from tenfold.codegen.cuda import (
    attention,
    chain,
    columns,
    contraction,
    grouped,
    moments,
    paged,
    pingpong,
    plain,
    pointwise,
    recurrent,
    reduce,
    running,
    scan,
    scatter,
    sort,
    spread,
    suppress,
    sweeps,
    whole,
    window,
)
from tenfold.codegen.cuda.conv import expanded, pooled, transposed
from tenfold.codegen.strategy import Strategy

STRATEGIES: tuple[Strategy, ...] = (
    pointwise.STRATEGY,
    columns.STRATEGY,
    window.STRATEGY,
    reduce.STRATEGY,
    spread.STRATEGY,
    sweeps.STRATEGY,
    contraction.STRATEGY,
    transposed.STRATEGY,
    plain.STRATEGY,
    moments.STRATEGY,
    attention.STRATEGY,
    whole.STRATEGY,
    running.STRATEGY,
    paged.STRATEGY,
    pingpong.STRATEGY,
    chain.STRATEGY,
    pooled.STRATEGY,
    expanded.STRATEGY,
    grouped.STRATEGY,
    recurrent.STRATEGY,
    scan.STRATEGY,
    scatter.STRATEGY,
    sort.STRATEGY,
    suppress.STRATEGY,
)
