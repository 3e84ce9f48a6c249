"""Attention by teams that take turns: what is taken, how heads come in parts, and its walk over the keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ops.attention import Attention
from tenfold.target import Target
from tests.codegen.cpu.anchored import Case, Given
from tests.codegen.cuda.anchored import check
from tests.codegen.cuda.interpreting import TARGET
from tests.codegen.cuda.test_whole import attention

from tenfold.codegen.cuda import pingpong  # isort: skip


def case(op: Attention, queries: int, keys: int, width: int, shared: int = 2) -> Case:
    rng = np.random.default_rng(5)
    shapes = ((1, 2, queries, width), *[(1, shared, keys, width)] * 2)
    return Case(op, [Given(rng.standard_normal(shape).astype(np.float16)) for shape in shapes])


def shape(m: int, n: int, teams: int) -> list[tuple[str, int | str]]:
    return [("m", m), ("n", n), ("teams", teams)]


@pytest.mark.parametrize(
    "op, queries, keys, width, shared, how",
    [
        (Attention(0.2), 130, 77, 40, 2, (64, 64, 2)),
        (Attention(0.2), 200, 128, 24, 1, (64, 128, 2)),
        (Attention(0.2, causal=True), 90, 90, 16, 2, (64, 64, 1)),
        (Attention(0.2, causal=True, offset=40), 100, 140, 16, 2, (64, 64, 2)),
        (Attention(0.2, causal=True, offset=-30), 100, 70, 16, 2, (64, 64, 2)),
    ],
)
def test_agrees_with_the_definition(
    op: Attention, queries: int, keys: int, width: int, shared: int, how: tuple[int, int, int]
) -> None:
    check(pingpong.STRATEGY, case(op, queries, keys, width, shared), shape(*how), tolerance=4e-3)


@pytest.mark.parametrize(
    "width, parts",
    [(16, ((0, 16),)), (40, ((0, 32), (32, 16))), (64, ((0, 64),)), (80, ((0, 64), (64, 16))), (120, ((0, 128),)),
     (160, ((0, 128), (128, 32)))],
)  # fmt: skip
def test_heads_come_in_powers_of_two(width: int, parts: tuple[tuple[int, int], ...]) -> None:
    assert pingpong._parts(width) == parts


@pytest.mark.parametrize(
    "region",
    [
        attention(197, 300, dtype=dt.f32),
        attention(300, 300, width=20),
        attention(16, 300),
        replace(attention(197, 197), anchor=Attention(0.125, softcap=30.0)),
        replace(attention(197, 197), anchor=Attention(-0.125)),
    ],
)
def test_what_is_refused(region: object) -> None:
    assert isinstance(pingpong.STRATEGY.tactics(region, TARGET), Refusal)  # type: ignore[arg-type]


def test_other_tensor_cores() -> None:
    assert isinstance(pingpong.STRATEGY.tactics(attention(197, 197), Target("cuda", "sm_100")), Refusal)


@pytest.mark.parametrize("width", [16, 40, 64, 80, 128, 160])
def test_tactics_fit_shared_memory_and_registers(width: int) -> None:
    found = pingpong.STRATEGY.tactics(attention(1024, 1024, width), TARGET)
    assert not isinstance(found, Refusal) and len(set(map(str, found))) == len(found) > 0
    for one in found:
        assert pingpong.STRATEGY.build(attention(1024, 1024, width), one, TARGET).launches
