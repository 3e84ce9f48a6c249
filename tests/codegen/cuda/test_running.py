"""Attention of many keys: what is taken, with how much room, and what it gives, one tile after another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tenfold.codegen.region import Anchored
from tenfold.codegen.strategy import Refusal
from tenfold.ops.attention import Attention
from tenfold.target import Target
from tests.codegen.cpu.anchored import Case, Given
from tests.codegen.cuda.anchored import check
from tests.codegen.cuda.interpreting import TARGET, tactics
from tests.codegen.cuda.test_whole import attention

from tenfold.codegen.cuda import running  # isort: skip


@pytest.mark.parametrize("keys, width, steps", [(384, 64, (3, 6)), (1500, 64, (12, 24)), (77, 40, (1, 2))])
def test_keys_come_in_steps(keys: int, width: int, steps: tuple[int, ...]) -> None:
    region = attention(384, keys, width)
    built = [running.STRATEGY.build(region, one, TARGET).launches[0] for one in tactics(running.STRATEGY, region)]
    parameters = [dict(one.program.parameters) for one in built]
    assert tuple(one["STEPS"] for one in parameters) == steps
    assert all(one["D"] == running.WIDE and one["SLOTS"] >= 4 for one in parameters)


@pytest.mark.parametrize("queries, keys, width, shared, n", [(130, 200, 64, 2, 64), (150, 128, 40, 1, 128)])
def test_agrees_with_the_definition(queries: int, keys: int, width: int, shared: int, n: int) -> None:
    shapes = ((1, 2, queries, width), *[(1, shared, keys, width)] * 2)
    given = [Given(np.random.default_rng(5).standard_normal(shape).astype(np.float16)) for shape in shapes]
    check(running.STRATEGY, Case(Attention(0.2), given), [("n", n)], tolerance=4e-3)


def test_heads_may_share_their_keys() -> None:
    assert tactics(running.STRATEGY, attention(200, 1000, shared=1))


@pytest.mark.parametrize(
    "region",
    [
        attention(100, 500),
        attention(384, 50),
        attention(384, 384, width=128),
        attention(384, 384, width=20),
        replace(attention(384, 384), anchor=Attention(0.125, causal=True)),
    ],
)
def test_what_is_refused(region: Anchored) -> None:
    assert isinstance(running.STRATEGY.tactics(region, TARGET), Refusal)


def test_other_tensor_cores() -> None:
    assert isinstance(running.STRATEGY.tactics(attention(384, 384), Target("cuda", "sm_100")), Refusal)
