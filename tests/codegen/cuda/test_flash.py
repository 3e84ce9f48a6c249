"""Attention whose block takes all keys at once, beside blocks that walk them."""

from __future__ import annotations

import pytest

from tenfold.codegen.strategy import Tactic
from tests.codegen.cpu.cases import Case
from tests.codegen.cuda.interpreting import TARGET, compare, tactics

from tenfold.codegen.cuda import attention  # isort: skip
from tests.codegen.cuda import table  # isort: skip

_CASE = Case("attention", lambda: None, low=-0.9, high=0.9)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(("keys", "n", "once"), [(37, 64, 1), (64, 64, 0), (37, 32, 0)])
def test_values_of_all_keys_are_asked_for_at_once(keys: int, n: int, once: int) -> None:
    region = table.attention(1, 2, 20, keys, width=32)
    tactic = Tactic("flash", (("m", 16), ("n", n), ("warps", 4), ("stages", 2)))
    kernel = attention.STRATEGY.build(region, tactic, TARGET)
    assert dict(kernel.launches[0].program.parameters)["ONCE"] == once  # type: ignore[union-attr]
    compare(region, kernel, _CASE)


def test_more_warps_where_all_keys_come_at_once() -> None:
    def many(keys: int) -> bool:
        return any(
            one["warps"] == 8 and one["m"] < 128
            for one in tactics(attention.STRATEGY, table.attention(1, 12, 197, keys))
        )

    assert many(197) and many(100) and not many(256) and not many(1000)
