from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen import strategies_for
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.microkernel import blocks_of
from tenfold.codegen.cpu.strassen import strategy as strassen
from tenfold.codegen.region import Anchored, Body, Instruction, Operand, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Value
from tenfold.ir.type import Type
from tenfold.ops.activation import Silu
from tenfold.ops.arithmetic import Add
from tenfold.ops.matmul import MatMul
from tenfold.ops.strassen import DATA, FACTORS, RESULTS, StrassenFactors, error_bound
from tenfold.options import Options
from tenfold.target import Target
from tests.codegen.cpu import anchored, jit
from tests.codegen.cpu.contractions import build, compare, constant, dense, operand, random, variable
from tests.codegen.cpu.emulated import check_emulated
from tests.codegen.cpu.test_conv import each_isa
from tests.codegen.cpu.test_gemm import product

SHAPES = {
    "whole blocks": (56, 64, 64),
    "an odd row": (29, 70, 40),
    "a row": (1, 32, 5),
    "two rows, one column": (2, 34, 1),
    "chunks of terms": (37, 1056, 150),
    "several stretches": (301, 256, 33),
}


def ways(isa: Isa) -> list[Tactic]:
    """A tactic of each width."""
    return [Tactic("strassen", (("block", str(one)),)) for one in blocks_of(isa, dt.f32)[:4]]


@each_isa
@pytest.mark.parametrize("name", SHAPES)
def test_every_block(isa: Isa, name: str) -> None:
    m, k, n = SHAPES[name]
    a, b = random(dt.f32, m, k), random(dt.f32, k, n)
    wanted = a.astype(np.float64) @ b
    for tactic in ways(isa):
        x, y = variable(dt.f32, a.shape), variable(dt.f32, wanted.shape)
        region = product(dense(x), dense(constant(b)), dense(y))
        kernel = build(strassen.STRATEGY, region, isa, tactic)
        results = {
            tuple(compare(region, kernel, isa, {x: a}, [wanted], 3e-6, threads, low=m % 2 == 0)) for threads in (1, 5)
        }
        assert len(results) == 1, "the answer depends on the number of threads"


@each_isa
def test_sequences_of_an_odd_length_stay_apart(isa: Isa) -> None:
    """What one sequence holds changes nothing in another's results, not even by rounding."""
    a, b = random(dt.f32, 3, 13, 64), random(dt.f32, 64, 96)
    x, y = variable(dt.f32, a.shape), variable(dt.f32, (3, 13, 96))
    region = product(dense(x), dense(constant(b)), dense(y))
    kernel = build(strassen.STRATEGY, region, isa, ways(isa)[0])
    found = []
    for other in (a[2], a[2] * 1e6):
        given = np.stack([a[0], a[1], other]).astype(np.float32)
        (raw,) = compare(region, kernel, isa, {x: given}, [given @ b])
        found.append(np.frombuffer(raw, np.float32).reshape(3, 13, 96))
    np.testing.assert_array_equal(found[0][:2], found[1][:2])
    np.testing.assert_allclose(found[0][:2], a[:2] @ b, rtol=0, atol=1e-4)


@each_isa
def test_factors_that_lie_transposed_and_rows_that_lie_apart(isa: Isa) -> None:
    a, b = random(dt.f32, 4, 10, 50), random(dt.f32, 72, 40)
    x, y = variable(dt.f32, a.shape), variable(dt.f32, (4, 72, 10))
    source = operand(x, (4, 10, 40), (500, 50, 1), 7)
    result = operand(y, (4, 10, 72), (720, 1, 10))
    region = product(source, operand(constant(b), (40, 72), (1, 40)), result)
    wanted = a[:, :, 7:47] @ b.T
    for tactic in ways(isa):
        compare(region, build(strassen.STRATEGY, region, isa, tactic), isa, {x: a}, [wanted])


@each_isa
def test_bias_residual_and_activation_in_place(isa: Isa) -> None:
    a, b, bias, rest = (random(dt.f32, *shape) for shape in ((31, 96), (96, 70), (70,), (31, 70)))
    x, row, y = variable(dt.f32, a.shape), variable(dt.f32, bias.shape), variable(dt.f32, rest.shape)
    code = (
        Instruction(Add(), (0, 1), dt.f32),
        Instruction(Silu(), (3,), dt.f32),
        Instruction(Add(), (4, 2), dt.f32),
    )
    body = Body((dt.f32,) * 3, code, (5,))
    region = product(dense(x), dense(constant(b)), dense(y), body, (operand(row, (31, 70), (0, 1)), dense(y)))
    sums = a @ b + bias
    wanted = sums / (1 + np.exp(-sums)) + rest
    arrays = {x: a, row: bias, y: rest}
    for tactic in ways(isa):
        compare(region, build(strassen.STRATEGY, region, isa, tactic), isa, arrays, [wanted])


@each_isa
def test_batches_unseen_at_build(isa: Isa) -> None:
    n, b = symbol("n", 1), random(dt.f32, 48, 33)
    x, y = Value(Type(dt.f32, (n, 5, 48))), Value(Type(dt.f32, (n, 5, 33)))
    source = Operand(x, dt.f32, (n, 5, 48), (240, 48, 1))
    region = product(source, dense(constant(b)), Operand(y, dt.f32, (n, 5, 33), (165, 33, 1)))
    kernel = build(strassen.STRATEGY, region, isa, ways(isa)[0])
    for count in (1, 4):
        a = random(dt.f32, count, 5, 48)
        compare(region, kernel, isa, {x: a}, [a @ b], bindings={"n": count})


def test_the_algorithm_is_exact_but_for_rounding() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 2, 2))
    products = (np.array(DATA) @ a.ravel()) * (np.array(FACTORS) @ b.ravel())
    np.testing.assert_allclose(np.array(RESULTS) @ products, (a @ b).ravel(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("terms", [64, 768, 3072])
def test_errors_keep_the_stated_bound(terms: int) -> None:
    """Far below the bound, which holds for all numbers; about as small as those of sums in f32 for usual ones."""
    isa = jit.runnable()[-1]
    numbers = np.random.default_rng(5)
    signs = numbers.choice(np.asarray([-1, 1], np.float32), (64, terms))
    b = numbers.standard_normal((terms, 48), np.float32)
    for a in (signs, numbers.standard_normal(signs.shape, np.float32)):
        wanted = a.astype(np.float64) @ b
        x, y = variable(dt.f32, a.shape), variable(dt.f32, wanted.shape)
        region = product(dense(x), dense(constant(b)), dense(y))
        most = error_bound(terms) * terms * np.abs(a).max() * np.abs(b).max() / np.abs(wanted).max()
        compare(region, build(strassen.STRATEGY, region, isa, ways(isa)[0]), isa, {x: a}, [wanted], min(most, 4e-6))


def test_factors_as_they_are_multiplied() -> None:
    w, op = random(dt.f32, 3, 2, 2), StrassenFactors()
    assert op.infer(Type(dt.f32, w.shape)).shape == (3, 7)
    found = op.evaluate(w)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 1], w[:, 0, 0])
    np.testing.assert_allclose(found[:, 0], w[:, 0, 0] + w[:, 1, 1], rtol=1e-6)
    with pytest.raises(ValueError, match="2 by 2"):
        op.infer(Type(dt.f32, (3, 4)))


def of_rows(m: object, k: int, n: int, fixed: bool = True, kind: dt.DType = dt.f32) -> Anchored:
    x, y = Value(Type(kind, (m, k))), Value(Type(kind, (m, n)))  # type: ignore[arg-type]
    w = constant(np.ones((k, n), kind.numpy)) if fixed else variable(kind, (k, n))
    source, result = Operand(x, kind, (m, k), (k, 1)), Operand(y, kind, (m, n), (n, 1))  # type: ignore[arg-type]
    return Anchored(result.shape, (result,), MatMul(), (source, dense(w)), identity(kind))


@pytest.mark.parametrize(
    ("region", "reason"),
    [(of_rows(1024, 768, 768, fixed=False), "no constant"),
     (of_rows(1024, 768, 768, kind=dt.f64), "not of f32"),
     (of_rows(symbol("n", 1), 768, 768), "not known"),
     (of_rows(1024, 769, 768), "halves"),
     (of_rows(128, 768, 768), "not worth larger weights"),
     (of_rows(1024, 64, 64), "not worth the sums")],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_refusals_say_why(region: Anchored, reason: str) -> None:
    found = strassen.STRATEGY.tactics(region, Target("cpu", "x86-64-v4"))
    assert isinstance(found, Refusal) and reason in found.reason


def test_large_products_are_taken_and_the_option_bars_them() -> None:
    target = Target("cpu", "x86-64-v4")
    found = strassen.STRATEGY.tactics(of_rows(1024, 768, 768), target)
    assert not isinstance(found, Refusal) and {one.strategy for one in found} == {"strassen"}
    barred = strategies_for(target, Options((target,), winograd="off"))
    assert strassen.STRATEGY in strategies_for(target) and strassen.STRATEGY not in barred


def test_code_needs_nothing_from_outside() -> None:
    region = of_rows(37, 96, 70)
    for isa in (jit.V3, jit.V4, jit.AARCH64):
        for tactic in ways(isa):
            (stage,) = build(strassen.STRATEGY, region, isa, tactic).stages
            assert jit.undefined(jit.object_of(stage.source, isa)) == []


def test_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strassen, "_GAIN", np.inf)
    monkeypatch.setattr(strassen, "_FEWEST", 0)
    given = [anchored.Given(random(dt.f32, 19, 64)), anchored.Given(random(dt.f32, 64, 37), constant=True)]
    check_emulated(strassen.STRATEGY, anchored.Case(MatMul(), given), tmp_path, tolerance=1e-5)
