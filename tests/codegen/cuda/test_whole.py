"""Attention of few keys: what is taken, in which parts, and what it gives, one tile after another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tenfold.codegen.region import Anchored, identity
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ops.attention import Attention
from tenfold.target import Target
from tests.codegen.cpu.anchored import Case, Given
from tests.codegen.cpu.cases import tensor
from tests.codegen.cuda.anchored import check
from tests.codegen.cuda.interpreting import TARGET, tactics

from tenfold.codegen.cuda import whole  # isort: skip


def attention(queries: int, keys: int, width: int = 64, dtype: dt.DType = dt.f16, shared: int = 3) -> Anchored:
    q, y = (tensor(dtype, (2, 3, queries, width)) for _ in range(2))
    k, v = (tensor(dtype, (2, shared, keys, width)) for _ in range(2))
    return Anchored(y.shape, (y,), Attention(0.125), (q, k, v), identity(dtype))


@pytest.mark.parametrize(
    "keys, parts", [(32, (32,)), (50, (64,)), (128, (128,)), (197, (128, 64, 16)), (256, (128, 128))]
)
def test_keys_come_in_powers_of_two(keys: int, parts: tuple[int, ...]) -> None:
    region = attention(197, keys)
    (one,) = whole.STRATEGY.build(region, tactics(whole.STRATEGY, region)[0], TARGET).launches
    assert dict(one.program.parameters)["PARTS"] == parts


@pytest.mark.parametrize("queries, keys, shared, split", [(130, 50, 2, 1), (197, 197, 2, 2), (70, 32, 1, 1)])
def test_agrees_with_the_definition(queries: int, keys: int, shared: int, split: int) -> None:
    shapes = ((1, 2, queries, 64), *[(1, shared, keys, 64)] * 2)
    given = [Given(np.random.default_rng(5).standard_normal(shape).astype(np.float16)) for shape in shapes]
    check(whole.STRATEGY, Case(Attention(0.125), given), [("split", split)], tolerance=4e-3)


def test_heads_may_share_their_keys() -> None:
    assert tactics(whole.STRATEGY, attention(100, 197, shared=1))


@pytest.mark.parametrize(
    "region",
    [
        attention(197, 300),
        attention(64, 197),
        attention(197, 197, width=32),
        attention(197, 197, dtype=dt.f32),
        replace(attention(197, 197), anchor=Attention(0.125, causal=True)),
        replace(attention(197, 197), anchor=Attention(0.125, softcap=30.0)),
    ],
)
def test_what_is_refused(region: Anchored) -> None:
    assert isinstance(whole.STRATEGY.tactics(region, TARGET), Refusal)


def test_other_tensor_cores() -> None:
    assert isinstance(whole.STRATEGY.tactics(attention(197, 197), Target("cuda", "sm_100")), Refusal)
