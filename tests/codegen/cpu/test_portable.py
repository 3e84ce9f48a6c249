"""The case table for every instruction set, run here or not: it compiles, calls nothing, and keeps to its
instructions.
"""

from __future__ import annotations

import re

import pytest

from tenfold.codegen.cpu import pointwise, reduce
from tenfold.codegen.cpu.attention import strategy as attention
from tenfold.codegen.strategy import Refusal, Strategy
from tests.codegen.cpu import cases, jit
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.checking import TARGETS

TABLES: tuple[tuple[Strategy, tuple[Case, ...]], ...] = (
    (pointwise.STRATEGY, (*cases.POINTWISE, *cases.EMIT[::4], *cases.CASTS[::8])),
    (reduce.STRATEGY, cases.ROW),
    (attention.STRATEGY, cases.ATTENTION),
)
_EVEX = re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]\b")


def sources(strategy: Strategy, case: Case, level: str) -> set[str]:
    """The modules of all tactics of a case."""
    region = case.region()
    tactics = strategy.tactics(region, TARGETS[level])
    assert not isinstance(tactics, Refusal)
    return {stage.source for one in tactics for stage in strategy.build(region, one, TARGETS[level]).stages}


@pytest.mark.parametrize("level", ["aarch64"])
def test_objects_need_nothing(level: str) -> None:
    isa = next(row for row in jit.ROWS if row.level == level)
    modules = {text for strategy, table in TABLES for case in table for text in sources(strategy, case, level)}
    needed = {symbol for text in modules for symbol in jit.undefined(jit.object_of(text, isa))}
    assert not needed


def test_avx2_code_has_no_avx512_instruction() -> None:
    modules = {text for strategy, table in TABLES for case in table for text in sources(strategy, case, "x86-64-v3")}
    strays = [line for text in modules for line in _EVEX.findall(jit.assembly_of(text, jit.V3))]
    assert not strays


def test_text_repeats() -> None:
    for strategy, table in TABLES:
        case = table[0]
        assert sources(strategy, case, "x86-64-v4") == sources(strategy, case, "x86-64-v4")
