from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu.conv import narrow
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ops.conv import Conv
from tenfold.target import Target
from tests.codegen.cpu import jit
from tests.codegen.cpu.anchored import TWO_RESULTS, Case, Given, check, random, tactics
from tests.codegen.cpu.emulated import check_emulated

_EVEX = re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|%k[0-7]\b")


@dataclass(frozen=True)
class Image:
    """A convolution of x [n, c, *size] to o channels; one number stands for every spatial axis."""

    n: int
    c: int
    size: tuple[int, ...]
    k: int | tuple[int, ...]
    o: int = 1
    stride: int | tuple[int, ...] = 1
    dilation: int | tuple[int, ...] = 1
    pad: int | tuple[int, ...] = 0
    groups: int = 1
    layouts: tuple[str, str] = ("dense", "dense")
    known: bool = True

    def each(self, number: int | tuple[int, ...]) -> tuple[int, ...]:
        return number if isinstance(number, tuple) else (number,) * len(self.size)

    @property
    def conv(self) -> Conv:
        pads = self.each(self.pad)
        return Conv(self.each(self.stride), self.each(self.dilation), pads, pads, self.groups)

    def case(self, **more: object) -> Case:
        x = random(dt.f32, self.n, self.c, *self.size)
        w = random(dt.f32, self.o, self.c // self.groups, *self.each(self.k), seed=1)
        sizes = (symbol("n", 0), self.c, *(symbol(f"s{axis}", size // 2) for axis, size in enumerate(self.size)))
        bindings = {} if self.known else dict(zip(map(str, sizes), x.shape, strict=True))
        bindings.pop(str(self.c), None)
        given = Given(x, self.layouts[0], shape=None if self.known else sizes)
        return Case(self.conv, [given, Given(w, constant=True)], [self.layouts[1]], bindings, **more)  # type: ignore[arg-type]


LAST = ("reversed", "reversed")
IMAGES = {
    "filter": Image(2, 1, (700,), 64),
    "filter of every second": Image(2, 1, (1300,), 61, stride=2),
    "filter of every third, padded": Image(1, 1, (203,), 10, stride=3, pad=7),
    "filter of sizes unseen": Image(3, 1, (203,), 16, stride=2, pad=7, known=False),
    "strides beyond the taps": Image(1, 2, (400,), 2, stride=7),
    "as a plane of one line": Image(1, 1, (1, 300), (1, 40), stride=(1, 2)),
    "as a plane of one column": Image(1, 2, (90, 1), (5, 1), pad=(2, 0)),
    "as a volume of one plane": Image(1, 2, (9, 1, 40), (3, 1, 5), pad=(1, 0, 2)),
    "3x3": Image(2, 9, (7, 40), 3, pad=1, layouts=LAST),
    "3x3 of sizes unseen": Image(2, 9, (7, 40), 3, pad=1, layouts=LAST, known=False),
    "3x3 of a narrow image": Image(1, 33, (40, 9), 3, pad=1, layouts=LAST),
    "5x5 of planes": Image(1, 8, (21, 70), 5, pad=2),
    "elements apart": Image(1, 5, (9, 37), 3, layouts=("spaced", "spaced")),
    "two outputs": Image(1, 12, (18, 33), 3, o=2, pad=1, stride=(1, 2), layouts=LAST),
    "wide": Image(1, 8, (19, 84), (3, 19), o=2, pad=(1, 9), layouts=("reversed", "dense")),
    "dilated": Image(2, 17, (19, 64), (5, 3), pad=(4, 2), stride=(2, 3), dilation=(1, 2), layouts=LAST),
    "lines apart": Image(1, 4, (40, 33), (2, 3), stride=(3, 1), dilation=(2, 1), pad=1),
    "groups": Image(2, 2, (9, 64), 5, o=2, pad=2, groups=2),
    "groups of several": Image(1, 8, (9, 37), 3, o=4, pad=1, groups=2, layouts=LAST),
    "channels by themselves": Image(2, 4, (70, 112), 3, o=4, pad=1, groups=4, layouts=LAST),
    "channels by themselves, sizes unseen": Image(2, 4, (9, 64), 3, o=4, pad=1, groups=4, layouts=LAST, known=False),
    "channels by themselves, several tiles": Image(
        2, 3, (19, 1100), 3, o=3, pad=1, groups=3, layouts=("dense", "reversed")
    ),
    "border wider than the image": Image(1, 1, (3, 9), 7, pad=9),
    "several tiles": Image(1, 2, (37, 1100), 3, pad=1),
    "many taps down": Image(1, 2, (90, 40), (70, 2)),
    "1x1": Image(1, 20, (9, 64), 1, layouts=("reversed", "dense")),
}


@pytest.mark.parametrize("name", IMAGES)
def test_as_defined(name: str) -> None:
    check(narrow.STRATEGY, IMAGES[name].case())


@pytest.mark.parametrize("outputs", [3, 5, 8])
@pytest.mark.parametrize("layout", ["dense", "reversed"])
def test_outputs_up_to_half_the_lanes(outputs: int, layout: str) -> None:
    case = Image(1, 5, (11, 83), 5, o=outputs, pad=2, layouts=("reversed", layout)).case()
    for isa in jit.runnable():
        if 2 * outputs <= isa.lanes(4):
            kernel = narrow.STRATEGY.build(
                case.region, tactics(narrow.STRATEGY, case, isa)[0], Target("cpu", isa.level)
            )
            wanted = case.op.results(tuple(one.array for one in case.inputs))[0]
            np.testing.assert_allclose(case.run(kernel, isa)[0], wanted, atol=1e-5 * np.abs(wanted).max())


def test_no_image_at_all() -> None:
    check(narrow.STRATEGY, Image(0, 3, (9, 64), 3, known=False).case(), [np.empty((0, 1, 7, 62), np.float32)])


def test_not_a_number_stays_where_it_is() -> None:
    case = Image(1, 3, (20, 70), 3, pad=1).case()
    next(iter(case.arrays.values()))[0, 1, 7, 30] = np.nan
    expected = case.op.results(tuple(one.array for one in case.inputs))
    assert np.isnan(expected[0]).sum() == 9
    check(narrow.STRATEGY, case, expected)


def test_bias_residual_activation_and_second_result() -> None:
    image = Image(2, 5, (9, 50), 3, o=2, pad=1, layouts=("reversed", "reversed"))
    bias, rest = random(dt.f32, 1, 2, 1, 1, seed=2), random(dt.f32, 2, 2, 9, 50, seed=3)
    extra = [Given(np.broadcast_to(bias, rest.shape)), Given(rest, "reversed")]
    case = replace(image.case(body=TWO_RESULTS, extra=extra), layouts=["reversed", "dense"])
    sums = case.op.results(tuple(one.array for one in case.inputs))[0] + bias
    check(narrow.STRATEGY, case, [1 / (1 + np.exp(-sums)) + rest, -sums], tolerance=1e-5)


@pytest.mark.parametrize("name", ["filter of every second", "3x3", "5x5 of planes", "elements apart", "groups"])
def test_code_needs_nothing_from_outside(name: str) -> None:
    case = IMAGES[name].case()
    for isa in jit.ROWS:
        for tactic in tactics(narrow.STRATEGY, case, isa):
            for stage in narrow.STRATEGY.build(case.region, tactic, Target("cpu", isa.level)).stages:
                assert jit.undefined(jit.object_of(stage.source, isa)) == []
                assert isa is not jit.V3 or not _EVEX.search(jit.assembly_of(stage.source, isa))


@pytest.mark.parametrize("name", ["filter of every second", "3x3", "two outputs"])
def test_on_aarch64(name: str, tmp_path: Path) -> None:
    check_emulated(narrow.STRATEGY, IMAGES[name].case(), tmp_path)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image(1, 3, (9, 64), 3, o=16), "lanes"),
        (Image(1, 3, (9, 3), 3, o=2), "lanes"),
        (Image(1, 40, (9, 64), 3, o=40, groups=40), "lanes"),
        (Image(1, 2, (5, 9, 64), 3), "axes"),
        (Image(1, 4000, (9, 64), 3), "cache"),
        (Image(1, 1, (600, 64), (600, 1)), "taps"),
    ],
)
def test_refusals_say_why(image: Image, reason: str) -> None:
    found = narrow.STRATEGY.tactics(image.case().region, Target("cpu", "x86-64-v4"))
    assert isinstance(found, Refusal)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("channels", "taps", "stride", "level", "taken"),
    [
        (8, 3, 1, "x86-64-v4", False),
        (5, 3, 2, "x86-64-v4", False),
        (2, 3, 1, "x86-64-v4", True),
        (3, 5, 1, "x86-64-v4", True),
        (4, 5, 1, "x86-64-v3", True),
    ],
)
def test_channels_by_themselves_as_measured(channels: int, taps: int, stride: int, level: str, taken: bool) -> None:
    """Side by side in 112x112 pixels, lines of the depthwise kernel were the faster ones wherever this is refused."""
    image = Image(
        1, channels, (112, 112), taps, channels, stride, pad=taps // 2, groups=channels, layouts=("last", "last")
    )
    found = narrow.STRATEGY.tactics(image.case().region, Target("cpu", level))
    assert isinstance(found, Refusal) is not taken


def test_other_types_and_weights_are_refused() -> None:
    x, w = random(dt.f64, 1, 2, 9, 64), random(dt.f64, 1, 2, 3, 3)
    conv = Image(1, 2, (9, 64), 3).conv
    for case, reason in (
        (Case(conv, [Given(x), Given(w, constant=True)]), "f32"),
        (Case(conv, [Given(x.astype("f4")), Given(w.astype("f4"))]), "constant"),
    ):
        found = narrow.STRATEGY.tactics(case.region, Target("cpu", "x86-64-v4"))
        assert isinstance(found, Refusal)
        assert reason in found.reason
