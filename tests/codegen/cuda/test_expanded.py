"""1x1 convolutions and the depthwise convolutions of their results, in one launch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.region import Chain
from tenfold.codegen.strategy import Refusal
from tests.codegen.cuda.interpreting import TARGET, tactics
from tests.codegen.cuda.test_lines import held

from tenfold.codegen.cuda.conv import expanded  # isort: skip
from tests.codegen.cuda.expansions import expanded_image  # isort: skip

CASES = {
    "3x3": expanded_image(24, (7, 8), 24, 3, 1, count=1),
    "3x3 in steps": expanded_image(16, (7, 6), 40, 3, 2),
    "5x5, told": expanded_image(40, (5, 7), 20, 5, 1, told=True, count=1),
    "5x5 in steps, told": expanded_image(24, (9, 8), 24, 5, 2, told=True, count=1),
    "no padding": expanded_image(24, (5, 6), 36, 3, 1, 0, count=1),
}


@pytest.mark.parametrize("name", CASES)
def test_expanding_and_adding_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expanded, "_LEAST", 1)
    region = CASES[name]
    found = tactics(expanded.STRATEGY, region)
    for lines in (1, 2):
        held(expanded.STRATEGY, region, next(at for at, one in enumerate(found) if one["lines"] == lines))


def test_what_is_refused() -> None:
    region = CASES["3x3"]
    wide, deep = region.parts
    assert isinstance(expanded.STRATEGY.tactics(deep, TARGET), Refusal)
    for parts in ((deep, wide), (wide, wide), (wide, replace(deep, inputs=(deep.outputs[0], deep.inputs[1])))):  # type: ignore[attr-defined,call-arg]
        assert isinstance(expanded.STRATEGY.tactics(Chain(region.domain, region.outputs, parts), TARGET), Refusal)
