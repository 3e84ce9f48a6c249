"""Convolutions of one image times one number a channel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.cpu.conv import gated
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ops.conv import Gated
from tenfold.target import Target
from tests.codegen.cpu import jit
from tests.codegen.cpu.anchored import TWO_RESULTS, Case, Given, check, random, tactics


def case(channels: int, outputs: int, size: tuple[int, ...], layout: str = "last", images: int = 1) -> Case:
    ones = (1,) * len(size)
    x, w = random(dt.f32, images, channels, *size), random(dt.f32, outputs, channels, *ones, seed=1)
    gate = random(dt.f32, images, channels, *ones, seed=2)
    return Case(Gated(), [Given(x, layout), Given(w, constant=True), Given(gate)], ["last"])


@pytest.mark.parametrize(("channels", "outputs"), [(20, 40), (96, 24), (5, 3), (600, 64), (1, 16)])
def test_as_defined(channels: int, outputs: int) -> None:
    check(gated.STRATEGY, case(channels, outputs, (7, 9)), tolerance=5e-6)


@pytest.mark.parametrize("size", [(700,), (3, 4, 5)])
def test_other_ranks(size: tuple[int, ...]) -> None:
    check(gated.STRATEGY, case(20, 24, size), tolerance=5e-6)


def test_channels_apart() -> None:
    check(gated.STRATEGY, case(20, 24, (7, 9), "dense"), tolerance=5e-6)


def test_sizes_unseen() -> None:
    known = case(20, 24, (7, 9))
    x, *others = known.inputs
    shape = (1, 20, symbol("height", 0), symbol("width", 0))
    open_ = replace(known, inputs=[replace(x, shape=shape), *others], bindings={"height": 7, "width": 9})
    check(gated.STRATEGY, open_, tolerance=5e-6)


def test_bias_residual_and_second_result() -> None:
    plain = case(20, 32, (9, 21))
    (sums,) = plain.op.results(tuple(one.array for one in plain.inputs))
    rest = random(dt.f32, *sums.shape, seed=3)
    both = replace(plain, body=TWO_RESULTS, extra=[Given(rest, "last"), Given(rest, "last")], layouts=["last"] * 2)
    total = sums + rest
    sigmoid = TWO_RESULTS.code[1].op.results((total,))[0]
    check(gated.STRATEGY, both, [sigmoid + rest, -total], tolerance=1e-5)


def test_several_images_are_refused() -> None:
    region = case(20, 24, (7, 9), images=2).region
    assert isinstance(gated.STRATEGY.tactics(region, Target("cpu", "x86-64-v4")), Refusal)


def test_code_needs_nothing_from_outside() -> None:
    one = case(20, 24, (7, 9))
    for isa in jit.ROWS:
        for tactic in tactics(gated.STRATEGY, one, isa):
            for stage in gated.STRATEGY.build(one.region, tactic, Target("cpu", isa.level)).stages:
                assert jit.undefined(jit.object_of(stage.source, isa)) == []
