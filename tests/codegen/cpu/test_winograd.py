from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu.conv import direct, winograd
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Anchored, Body, Index, Instruction, Operand, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.compiler.tune import Chosen, choose
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.type import Type
from tenfold.ops.activation import Silu
from tenfold.ops.arithmetic import Add
from tenfold.ops.conv import Conv
from tenfold.ops.logic import Cast
from tenfold.ops.winograd import POINTS, WinogradFilter, error_bound, matrices
from tenfold.target import Target
from tests.codegen.cpu import anchored, jit
from tests.codegen.cpu.contractions import build, compare, constant, operand, random, row_major, variable
from tests.codegen.cpu.emulated import check_emulated
from tests.codegen.cpu.test_conv import Case, each_isa, placed, weights_of

WAYS = [
    Tactic("conv.winograd", (("products", products), ("gathered", way)))
    for products, way in itertools.product((4, 6), ("by the way", "first"))
]
CASES = {
    "whole tiles": Case(n=1, c=16, size=(8, 8), o=32, k=3, pad=1),
    "tails of everything": Case(n=2, c=21, size=(7, 9), o=37, k=3, pad=1),
    "without border": Case(n=1, c=17, size=(9, 6), o=16, k=3),
    "wide border": Case(n=1, c=16, size=(3, 2), o=5, k=3, pad=3),
    "one pixel": Case(n=3, c=16, size=(1, 1), o=16, k=3, pad=1),
    "several stretches": Case(n=1, c=64, size=(41, 37), o=96, k=3, pad=1),
    "planes of the result": Case(n=1, c=24, size=(6, 11), o=24, k=3, pad=1, y="first"),
}
OTHERS = {
    "blocks of taps": Case(n=1, c=16, size=(9, 13), o=37, k=11, pad=5),
    "down alone": Case(n=2, c=19, size=(21, 1), o=33, k=(5, 1)),
    "across alone": Case(n=1, c=16, size=(3, 18), o=16, k=(1, 7), pad=(0, 3)),
    "one axis": Case(n=2, c=18, size=(23,), o=20, k=5, pad=2),
    "uneven": Case(n=1, c=17, size=(8, 15), o=18, k=(3, 5), pad=(1, 2)),
}


def region_of(case: Case, w: Array, body: Body | None = None, extra: tuple[Operand, ...] = ()) -> Anchored:
    source = placed(dt.f32, (case.n, case.c, *case.size), case.x)
    shape = tuple(int(size) for size in case.conv.infer(Type(dt.f32, source.shape), Type(dt.f32, w.shape)).shape)  # type: ignore[arg-type]
    inputs = (source, operand(constant(w), w.shape, row_major(w.shape)))
    return Anchored(shape, (placed(dt.f32, shape, case.y),), case.conv, inputs, body or identity(dt.f32), extra)


@each_isa
@pytest.mark.parametrize("tactic", WAYS, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_every_way(isa: Isa, name: str, tactic: Tactic) -> None:
    case = CASES[name]
    x, w = random(dt.f32, case.n, case.c, *case.size), weights_of(case)
    region = region_of(case, w)
    arrays = {region.inputs[0].value: x.transpose(0, 2, 3, 1)}
    wanted = np.asarray(case.conv.evaluate(x, w))
    kernel = build(winograd.STRATEGY, region, isa, tactic)
    results = {
        tuple(compare(region, kernel, isa, arrays, [wanted], low=case.n == 1, threads=threads)) for threads in (1, 2, 5)
    }
    assert len(results) == 1, "the answer depends on the number of threads"


@each_isa
@pytest.mark.parametrize("name", OTHERS)
def test_taps_other_than_three_by_three(isa: Isa, name: str) -> None:
    """Every way that is offered; along one axis tiles of eight products are among them."""
    case = OTHERS[name]
    x, w = random(dt.f32, case.n, case.c, *case.size), weights_of(case)
    region = region_of(case, w)
    arrays = {region.inputs[0].value: np.moveaxis(x, 1, -1)}
    wanted = np.asarray(case.conv.evaluate(x, w))
    found = [one.tactics(region, Target("cpu", isa.level)) for one in (winograd.STRATEGY, winograd.DOUBTED)]
    ways = [tactic for tactics in found if not isinstance(tactics, Refusal) for tactic in tactics]
    assert {int(way["products"]) for way in ways} == ({4, 6, 8} if 1 in w.shape[2:] or w.ndim == 3 else {4, 6})
    for tactic in ways:
        kernel = build(winograd.STRATEGY, region, isa, tactic)
        compare(region, kernel, isa, arrays, [wanted], 5e-6, threads=3)


@each_isa
@pytest.mark.parametrize("tactic", WAYS, ids=str)
def test_bias_residual_activation_and_positions(isa: Isa, tactic: Tactic) -> None:
    case = CASES["tails of everything"]
    x, w = random(dt.f32, case.n, case.c, *case.size), weights_of(case)
    sums = np.asarray(case.conv.evaluate(x, w))
    bias, rest = random(dt.f32, case.o), random(dt.f32, *sums.shape)
    row, result = variable(dt.f32, (case.o,)), placed(dt.f32, sums.shape, "last")
    code = (
        Instruction(Add(), (0, 1), dt.f32),
        Instruction(Silu(), (3,), dt.f32),
        Instruction(Add(), (4, 2), dt.f32),
        *(Instruction(Index(axis), (), dt.i64) for axis in (2, 3)),
        Instruction(Add(), (6, 7), dt.i64),
        Instruction(Cast(dt.f32), (8,), dt.f32),
        Instruction(Add(), (5, 9), dt.f32),
    )
    body = Body((dt.f32,) * 3, code, (10,))
    inputs = (
        placed(dt.f32, x.shape, "last"),
        operand(constant(w), w.shape, row_major(w.shape)),
    )
    region = Anchored(sums.shape, (result,), case.conv, inputs, body, (operand(row, sums.shape, (0, 1, 0, 0)), result))
    biased = sums + bias[:, None, None]
    at = np.indices(sums.shape)
    wanted = (biased / (1 + np.exp(-biased)) + rest + at[2] + at[3]).astype(np.float32)
    arrays = {inputs[0].value: x.transpose(0, 2, 3, 1), row: bias, result.value: rest.transpose(0, 2, 3, 1)}
    compare(region, build(winograd.STRATEGY, region, isa, tactic), isa, arrays, [wanted], threads=3)


@each_isa
@pytest.mark.parametrize("tactic", WAYS, ids=str)
def test_images_of_sizes_unseen_at_build(isa: Isa, tactic: Tactic) -> None:
    n, height, width = symbol("n", 1), symbol("height", 1), symbol("width", 1)
    conv, w = Conv((1, 1), (1, 1), (1, 1), (1, 1)), random(dt.f32, 33, 16, 3, 3)
    x, y = Value(Type(dt.f32, (n, height, width, 16))), Value(Type(dt.f32, (n, height, width, 33)))
    source = Operand(x, dt.f32, (n, 16, height, width), (height * width * 16, 1, width * 16, 16))
    result = Operand(y, dt.f32, (n, 33, height, width), (height * width * 33, 1, width * 33, 33))
    inputs = (source, operand(constant(w), w.shape, row_major(w.shape)))
    region = Anchored(result.shape, (result,), conv, inputs, identity(dt.f32))
    kernel = build(winograd.STRATEGY, region, isa, tactic)
    for shape in ((1, 16, 1, 2), (3, 16, 20, 17)):
        image = random(dt.f32, *shape)
        sizes = {"n": shape[0], "height": shape[2], "width": shape[3]}
        wanted = np.asarray(conv.evaluate(image, w))
        compare(region, kernel, isa, {x: image.transpose(0, 2, 3, 1)}, [wanted], bindings=sizes)


@pytest.mark.parametrize(("points", "taps"), [(one, taps) for size, one in POINTS.items() for taps in range(1, size)])
def test_the_algorithm_is_exact_but_for_rounding(points: tuple[float, ...], taps: int) -> None:
    a, g, b = matrices(points, taps)
    x, w = np.random.default_rng(0).standard_normal((2, len(b)))
    wanted = np.convolve(x, w[:taps][::-1], "valid")
    np.testing.assert_allclose(a @ ((g @ w[:taps]) * (b @ x)), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "products", "taps", "blocks"), [("blocks of taps", 6, (3, 3), 16), ("one axis", 8, (1, 5), 1)]
)
def test_errors_of_other_taps_keep_the_stated_bound(
    name: str, products: int, taps: tuple[int, int], blocks: int
) -> None:
    case, isa = OTHERS[name], jit.runnable()[-1]
    x, w = np.sign(random(dt.f32, case.n, case.c, *case.size)), weights_of(case)
    region = region_of(case, w)
    wanted = np.asarray(case.conv.evaluate(x.astype(np.float64), w.astype(np.float64)))
    terms = case.c * blocks
    least = error_bound(POINTS[products], terms, taps) * terms * np.abs(w).max() / np.abs(wanted).max()
    tactic = Tactic("conv.winograd", (("products", products), ("gathered", "by the way")))
    kernel = build(winograd.STRATEGY, region, isa, tactic)
    compare(region, kernel, isa, {region.inputs[0].value: np.moveaxis(x, 1, -1)}, [wanted], min(least, 4e-6))


@pytest.mark.parametrize("tactic", WAYS[::2], ids=str)
@pytest.mark.parametrize("channels", [16, 256])
def test_errors_keep_the_stated_bound(tactic: Tactic, channels: int) -> None:
    """Far below the bound, which holds for all images; about as small as those of sums in f32 for usual ones."""
    case = Case(n=1, c=channels, size=(12, 12), o=16, k=3, pad=1)
    isa = jit.runnable()[-1]
    random_numbers = np.random.default_rng(5)
    signs = random_numbers.choice(np.asarray([-1, 1], np.float32), (1, channels, 12, 12))
    usual = np.maximum(random_numbers.standard_normal(signs.shape, np.float32), 0)
    for x in (signs, usual):
        w = weights_of(case)
        region = region_of(case, w)
        wanted = np.asarray(case.conv.evaluate(x.astype(np.float64), w.astype(np.float64)))
        scale = np.abs(wanted).max()
        least = error_bound(POINTS[int(tactic["products"])], channels) * channels * np.abs(x).max() * np.abs(w).max()
        arrays = {region.inputs[0].value: x.transpose(0, 2, 3, 1)}
        kernel = build(winograd.STRATEGY, region, isa, tactic)
        compare(region, kernel, isa, arrays, [wanted], min(least / scale, 4e-6))


def test_a_filter_in_the_transformed_domain() -> None:
    w = random(dt.f32, 2, 5, 3, 3)
    op = WinogradFilter(POINTS[6])
    assert op.infer(Type(dt.f32, (2, 5, 3, 1))).shape == (2, 5, 6, 1)
    assert op.infer(Type(dt.f32, w.shape)).shape == (2, 5, 6, 6)
    found = op.evaluate(w)
    assert found.dtype == np.float32 and found.shape == (2, 5, 6, 6)
    np.testing.assert_array_equal(found[..., 5, 5], w[..., 2, 2])
    with pytest.raises(ValueError, match="at most 6 by 6"):
        op.infer(Type(dt.f32, (2, 5, 7, 3)))


@pytest.mark.parametrize(
    ("case", "reason"),
    [(Case(n=1, c=64, size=(8, 8), o=64, k=3, pad=1, stride=2), "stride 1"),
     (Case(n=1, c=64, size=(8, 8), o=64, k=1), "no taps"),
     (Case(n=1, c=64, size=(8, 8), o=64, k=3, pad=1, groups=2), "groups"),
     (Case(n=1, c=64, size=(8, 8), o=64, k=3, pad=1, x="first"), "adjacent"),
     (Case(n=1, c=4, size=(8, 8), o=64, k=3, pad=1), "fill a vector"),
     (Case(n=1, c=16, size=(2, 2), o=2, k=3, pad=1), "not worth")],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_refusals_say_why(case: Case, reason: str) -> None:
    found = winograd.STRATEGY.tactics(region_of(case, weights_of(case)), Target("cpu", "x86-64-v4"))
    assert isinstance(found, Refusal) and reason in found.reason


def test_the_faster_way_comes_first() -> None:
    target = Target("cpu", "x86-64-v4")
    large, small = Case(1, 64, (56, 56), 64, 3, pad=1), Case(1, 256, (14, 14), 256, 3, pad=1)
    heavy = Case(32, 512, (7, 7), 512, 3, pad=1)
    ways = [winograd.STRATEGY.tactics(region_of(one, weights_of(one)), target) for one in (large, small, heavy)]
    assert [str(one[0]) for one in ways if not isinstance(one, Refusal)] == [
        "conv.winograd(products=6, gathered=by the way)",
        "conv.winograd(products=6, gathered=first)",
        "conv.winograd(products=6, gathered=first)",
    ]
    assert not isinstance(direct.STRATEGY.tactics(region_of(large, weights_of(large)), target), Refusal)


def test_each_reason_is_given_once_and_is_true() -> None:
    """Where transforms seem worth it, ways that do not are no reason; what is no such convolution is told once."""
    both, target = (winograd.STRATEGY, winograd.DOUBTED), Target("cpu", "x86-64-v4")
    whole, strided = Case(1, 64, (56, 56), 64, 3, pad=1), Case(1, 64, (56, 56), 64, 3, stride=2)
    chosen = choose(region_of(whole, weights_of(whole)), both, target)
    assert isinstance(chosen, Chosen) and not chosen.refused
    assert choose(region_of(strided, weights_of(strided)), (*both, direct.STRATEGY), target).refused == (  # type: ignore[union-attr]
        ("conv.winograd", "not of stride 1"),
    )


def test_code_needs_nothing_from_outside() -> None:
    case = CASES["tails of everything"]
    for isa, tactic in itertools.product((jit.V3, jit.V4, jit.AARCH64), WAYS):
        for stage in build(winograd.STRATEGY, region_of(case, weights_of(case)), isa, tactic).stages:
            assert jit.undefined(jit.object_of(stage.source, isa)) == []


def test_on_another_machine(tmp_path: Path) -> None:
    case = Case(n=1, c=21, size=(17, 19), o=37, k=3, pad=1)
    x, w = random(dt.f32, case.n, case.c, *case.size), weights_of(case)
    given = [anchored.Given(x, "last"), anchored.Given(w, constant=True)]
    check_emulated(winograd.STRATEGY, anchored.Case(case.conv, given, ["last"]), tmp_path, tolerance=1e-5)
