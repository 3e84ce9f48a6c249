from __future__ import annotations

import pytest

from tenfold.codegen.cpu import emit, pointwise
from tenfold.codegen.cpu.body import expand_body, split, stashed
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Body, Instruction
from tenfold.ir import dtype as dt
from tenfold.ops import activation, arithmetic, matmul
from tenfold.ops.constant import scalar
from tests.codegen.cpu import cases, jit
from tests.codegen.cpu.cases import Case, body
from tests.codegen.cpu.checking import check

MACHINES = jit.runnable()


def spread_out(table: tuple[Case, ...]) -> list[object]:
    """Cases of f32 on every machine that runs here, the rest on one after the other."""
    found = []
    for number, case in enumerate(table):
        chosen = MACHINES if case.name.endswith("-f32") else [MACHINES[number % len(MACHINES)]]
        found += [pytest.param(case, isa, id=f"{case.name}-{isa.level}") for isa in chosen]
    return found


@pytest.mark.parametrize(("case", "isa"), spread_out(cases.EMIT))
def test_primitive(case: Case, isa: Isa) -> None:
    check(pointwise.STRATEGY, case, isa)


@pytest.mark.parametrize(("case", "isa"), spread_out(cases.CASTS))
def test_conversion(case: Case, isa: Isa) -> None:
    check(pointwise.STRATEGY, case, isa)


def test_activations_become_primitives_once() -> None:
    what = body([dt.f32], (activation.Silu(), (0,), dt.f32), (activation.Silu(), (0,), dt.f32), outputs=(1, 2))
    expanded = expand_body(what)
    assert expanded.outputs[0] == expanded.outputs[1]
    assert all(type(one.op) in emit.EMITTERS or not one.args for one in expanded.code)


@pytest.mark.parametrize(("power", "kinds"), [(2.0, ["Mul"]), (3.0, ["Mul", "Mul"]), (1.0, []), (-1.0, ["Reciprocal"])])
def test_constant_powers_are_products(power: float, kinds: list[str]) -> None:
    what = body([dt.f32], (scalar(power, dt.f32), (), dt.f32), (arithmetic.Pow(), (0, 1), dt.f32))
    assert [one.op.name for one in expand_body(what).code] == kinds


def test_refusals_say_why() -> None:
    pair = (dt.f32, dt.f32)
    assert emit.refusal(Body(pair, (Instruction(matmul.MatMul(), (0, 1), dt.f32),), (2,))) is not None
    assert "string" in str(emit.refusal(Body((dt.string,), (), (0,))))
    assert emit.refusal(Body((dt.i32,), (Instruction(arithmetic.Exp(), (0,), dt.i32),), (1,))) is not None
    assert emit.refusal(body(pair, (arithmetic.Add(), (0, 1), dt.f32))) is None


def test_what_stays_the_same_is_split_off() -> None:
    what = body([dt.f32, dt.f32], (arithmetic.Sqrt(), (1,), dt.f32), (arithmetic.Mul(), (0, 2), dt.f32))
    fixed, rest = split(what, [False, True], None)
    assert [one.op.name for one in fixed.code] == ["Sqrt"]
    assert [one.op.name for one in rest.code] == ["Mul"]
    assert rest.inputs == (dt.f32,) * 3


def test_a_stash_replaces_what_was_computed_before() -> None:
    exp = ((arithmetic.Sub(), (0, 1), dt.f32), (arithmetic.Exp(), (2,), dt.f32))
    earlier = body([dt.f32, dt.f32], *exp)
    later = body(
        [dt.f32] * 3,
        (arithmetic.Sub(), (0, 1), dt.f32),
        (arithmetic.Exp(), (3,), dt.f32),
        (arithmetic.Div(), (4, 2), dt.f32),
    )
    found = stashed(later, earlier)
    assert found is not None
    assert [(one.op.name, one.args) for one in found.code] == [("Div", (3, 2))]
    assert stashed(body([dt.f32] * 3, outputs=(0,)), earlier) is None


def test_differences_are_never_fused() -> None:
    what = body(
        [dt.f32] * 2,
        (arithmetic.Mul(), (0, 0), dt.f32),
        (arithmetic.Mul(), (1, 1), dt.f32),
        (arithmetic.Sub(), (2, 3), dt.f32),
    )
    region = cases.pointwise((64,), [cases.tensor(dt.f32, (64,))] * 2, what)
    check(pointwise.STRATEGY, Case("squares", lambda: region, tolerance=0.0), MACHINES[-1])
