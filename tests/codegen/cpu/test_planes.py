from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu.conv import ending, planes, woven
from tenfold.codegen.cpu.conv.ending import Ending
from tenfold.codegen.cpu.lines import Stream
from tenfold.codegen.cpu.microkernel import Block
from tenfold.codegen.region import identity
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.target import Target
from tests.codegen.cpu import jit
from tests.codegen.cpu.anchored import TWO_RESULTS, Case, Given, check, random, tactics
from tests.codegen.cpu.emulated import check_emulated
from tests.codegen.cpu.test_narrow import Image

_EVEX = re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]\b")
LAST = ("dense", "reversed")
IMAGES = {
    "3x3 of every second": Image(1, 3, (17, 19), 3, o=32, stride=2, pad=1, layouts=LAST),
    "3x3 of every second, whole blocks": Image(1, 3, (9, 56), 3, o=32, stride=2, pad=1, layouts=LAST),
    "7x7": Image(1, 3, (23, 29), 7, o=64, stride=2, pad=3, layouts=LAST),
    "patches": Image(1, 3, (8, 60), 4, o=48, stride=4, layouts=LAST),
    "one plane": Image(1, 1, (9, 40), (3, 5), o=16, pad=(0, 2), layouts=LAST),
    "four planes": Image(1, 4, (9, 40), 2, o=16, layouts=LAST),
    "lines apart": Image(1, 2, (20, 33), 3, o=16, stride=(3, 1), dilation=(2, 1), pad=(2, 1), layouts=LAST),
    "several tiles": Image(1, 2, (6, 1100), 3, o=16, pad=1, layouts=LAST),
    "border wider than the image": Image(1, 3, (3, 2), 3, o=16, pad=4, layouts=LAST),
    "rows alone": Image(1, 3, (5, 70), (1, 3), o=16, layouts=LAST),
}


UNSEEN = Image(1, 3, (17, 39), 3, o=16, stride=2, pad=1, layouts=LAST)


def unseen(image: Image) -> Case:
    """The case with an image whose height and width the call says."""
    case = image.case()
    x, w = case.inputs
    shape = (1, image.c, symbol("height", 0), symbol("width", 8))
    return replace(
        case, inputs=[replace(x, shape=shape), w], bindings={"height": image.size[0], "width": image.size[1]}
    )


@pytest.mark.parametrize("name", IMAGES)
def test_as_defined(name: str) -> None:
    check(planes.STRATEGY, IMAGES[name].case())


@pytest.mark.parametrize("size", [(17, 39), (5, 8), (4, 1100)])
def test_sizes_unseen(size: tuple[int, int]) -> None:
    check(planes.STRATEGY, unseen(replace(UNSEEN, size=size)))


def test_not_a_number_stays_where_it_is() -> None:
    case = Image(1, 3, (20, 70), 3, o=16, pad=1, layouts=LAST).case()
    next(iter(case.arrays.values()))[0, 1, 7, 30] = np.nan
    expected = case.op.results(tuple(one.array for one in case.inputs))
    assert np.isnan(expected[0]).sum() == 9 * 16
    check(planes.STRATEGY, case, expected)


@pytest.mark.parametrize("light", [0.0, 1e9])
def test_bias_residual_activation_and_second_result(light: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "WRITTEN_OUT", {False: light, True: light})
    woven.source.cache_clear()
    image = Image(1, 3, (9, 21), 3, o=32, pad=1, layouts=LAST)
    bias, rest = random(dt.f32, 1, 32, 1, 1, seed=2), random(dt.f32, 1, 32, 9, 21, seed=3)
    bias_given = Given(np.broadcast_to(bias, rest.shape).copy(), "reversed")
    case = replace(image.case(body=TWO_RESULTS, extra=[bias_given, Given(rest, "reversed")]), layouts=["reversed"] * 2)
    sums = case.op.results(tuple(one.array for one in case.inputs))[0] + bias
    check(planes.STRATEGY, case, [1 / (1 + np.exp(-sums)) + rest, -sums], tolerance=1e-5)
    woven.source.cache_clear()


@pytest.mark.parametrize("case", [IMAGES["3x3 of every second"].case(), unseen(UNSEEN)], ids=["known", "unseen"])
def test_code_needs_nothing_from_outside(case: Case) -> None:
    for isa in jit.ROWS:
        for tactic in tactics(planes.STRATEGY, case, isa):
            for stage in planes.STRATEGY.build(case.region, tactic, Target("cpu", isa.level)).stages:
                assert jit.undefined(jit.object_of(stage.source, isa)) == []
                assert isa is not jit.V3 or not _EVEX.search(jit.assembly_of(stage.source, isa))


@pytest.mark.parametrize("planes_, stride", [(3, 2), (3, 1), (4, 4), (1, 1)])
def test_sums_stay_in_registers(planes_: int, stride: int) -> None:
    form = woven.Form(jit.V4, Block(14, 2, 16), planes_, stride, 3 * planes_, 0, _plain())
    spilled = re.findall(r"vmovu?p?a?p?s\s+%zmm\d+, -?\d*\(%rsp\)", jit.assembly_of(woven.source(form), jit.V4))
    assert not spilled


def _plain() -> Ending:
    return Ending(identity(dt.f32), (), (Stream(dt.f32, 1),))


@pytest.mark.parametrize("case", [IMAGES["3x3 of every second"].case(), unseen(UNSEEN)], ids=["known", "unseen"])
def test_on_aarch64(case: Case, tmp_path: Path) -> None:
    check_emulated(planes.STRATEGY, case, tmp_path)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image(1, 5, (9, 64), 3, o=16, layouts=LAST), "few"),
        (Image(1, 4, (9, 64), 3, o=16, groups=2, layouts=LAST), "few"),
        (Image(1, 3, (9, 64), 3, o=18, layouts=LAST), "vectors"),
        (Image(1, 3, (9, 64), 3, o=16), "side"),
        (Image(1, 3, (9, 64), 3, o=16, layouts=("reversed", "reversed")), "adjacent"),
        (Image(1, 3, (9, 64), 3, o=16, dilation=2, layouts=LAST), "adjacent"),
        (Image(1, 3, (64,), 3, o=16, layouts=LAST), "few"),
    ],
)
def test_refusals_say_why(image: Image, reason: str) -> None:
    found = planes.STRATEGY.tactics(image.case().region, Target("cpu", "x86-64-v4"))
    assert isinstance(found, Refusal)
    assert reason in found.reason
