"""The CPU's strategies, best first."""

from __future__ import annotations

from tenfold.codegen.cpu import fourier, gemm, pointwise, recurrent, reduce, scan, scatter, sort, suppress, told
from tenfold.codegen.cpu.attention import strategy as attention
from tenfold.codegen.cpu.conv import depthwise, direct, gated, generic, narrow, planes, transposed, winograd
from tenfold.codegen.cpu.strassen import strategy as strassen
from tenfold.codegen.strategy import Strategy

STRATEGIES: tuple[Strategy, ...] = (
    pointwise.STRATEGY,
    reduce.STRATEGY,
    told.STRATEGY,
    strassen.STRATEGY,
    gemm.STRATEGY,
    attention.STRATEGY,
    recurrent.STRATEGY,
    scan.STRATEGY,
    sort.STRATEGY,
    suppress.STRATEGY,
    fourier.STRATEGY,
    scatter.STRATEGY,
    narrow.STRATEGY,
    depthwise.STRATEGY,
    planes.STRATEGY,
    winograd.STRATEGY,
    direct.STRATEGY,
    gated.STRATEGY,
    winograd.DOUBTED,
    transposed.STRATEGY,
    generic.STRATEGY,
)
