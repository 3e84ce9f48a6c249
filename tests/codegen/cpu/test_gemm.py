from __future__ import annotations

import re
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from tenfold.codegen.cpu import gemm
from tenfold.codegen.cpu import parts as cut
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Anchored, Body, Instruction, Operand, identity
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.substitute import evaluate
from tenfold.ir.type import Type
from tenfold.ops.activation import Relu
from tenfold.ops.arithmetic import Add, Mul, Tanh
from tenfold.ops.logic import Cast
from tenfold.ops.matmul import MatMul
from tenfold.target import Target
from tests.codegen.cpu import anchored, jit
from tests.codegen.cpu.contractions import build, compare, constant, dense, operand, random, variable
from tests.codegen.cpu.emulated import check_emulated

ISAS = jit.runnable()
each_isa = pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.level)
SHAPES = [(1, 1, 1), (1, 70, 33), (3, 31, 5), (13, 32, 64), (14, 33, 1), (15, 100, 17), (29, 64, 0), (61, 40, 40)]


def product(
    a: Operand, b: Operand, out: Operand, body: Body | None = None, extra: tuple[Operand, ...] = ()
) -> Anchored:
    total = MatMul().infer(Type(a.dtype, a.shape), Type(b.dtype, b.shape)).dtype
    return Anchored(out.shape, (out,), MatMul(), (a, b), body or identity(total), extra)


def expected(a: Array, b: Array) -> Array:
    return np.asarray(MatMul().evaluate(a, b))


def check(
    isa: Isa, a: Array, b: Array, fixed: bool = True, tolerance: float = 1e-5, low: bool = False, threads: int = 2
) -> list[bytes]:
    """a @ b for dense operands."""
    wanted = expected(a, b)
    x, y = variable(dt.of(a.dtype), a.shape), variable(dt.of(wanted.dtype), wanted.shape)
    w = constant(b) if fixed else variable(dt.of(b.dtype), b.shape)
    region = product(dense(x), dense(w), dense(y))
    arrays = {x: a} if fixed else {x: a, w: b}
    return compare(region, build(gemm.STRATEGY, region, isa), isa, arrays, [wanted], tolerance, threads, low)


@each_isa
@pytest.mark.parametrize("fixed", [True, False], ids=["constant", "variable"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tails(isa: Isa, fixed: bool, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    check(isa, random(dt.f32, m, k), random(dt.f32, k, n), fixed, low=m % 2 == 0)


@each_isa
@pytest.mark.parametrize(
    ("a", "b", "tolerance"),
    [(dt.f64, dt.f64, 1e-14), (dt.f16, dt.f16, 1e-3), (dt.bf16, dt.bf16, 1e-2), (dt.i8, dt.i8, 0), (dt.u8, dt.i8, 0),
     (dt.i8, dt.u8, 0), (dt.i16, dt.i16, 0), (dt.i32, dt.i32, 0), (dt.i64, dt.i64, 0), (dt.u32, dt.u32, 0)],
    ids=str,
)  # fmt: skip
def test_element_types(isa: Isa, a: dt.DType, b: dt.DType, tolerance: float) -> None:
    for fixed in (True, False):
        check(isa, random(a, 17, 21), random(b, 21, 35), fixed, tolerance)


@each_isa
@pytest.mark.parametrize(("rows", "terms"), [(20, 9000), (20, 3000), (19, 3072), (16, 1024)])
def test_long_sums_in_stretches_or_in_one_go(isa: Isa, rows: int, terms: int) -> None:
    check(isa, random(dt.f32, rows, terms), random(dt.f32, terms, 50))


@each_isa
@pytest.mark.parametrize("dtype", [dt.f32, dt.f64, dt.f16, dt.i8], ids=str)
@pytest.mark.parametrize("columns", [3, 16, 41, 67])
def test_given_matrices_are_packed_by_strips(isa: Isa, dtype: dt.DType, columns: int) -> None:
    for terms in (255, 513):
        check(isa, random(dtype, 9, terms), random(dtype, terms, columns), False, 2e-3 if dtype is dt.f16 else 1e-5)


@each_isa
@pytest.mark.parametrize("fixed", [True, False], ids=["constant", "variable"])
@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4, 5), (5, 6)), ((3, 4, 5), (3, 5, 6)), ((2, 1, 4, 5), (3, 5, 6)), ((1, 4, 5), (3, 5, 6)),
     ((2, 3, 4, 5), (2, 1, 5, 6)), ((2, 3, 15, 5), (1, 3, 5, 6)), ((5,), (5, 6)), ((4, 5), (5,)), ((5,), (5,))],
    ids=str,
)  # fmt: skip
def test_batches(isa: Isa, fixed: bool, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check(isa, random(dt.f32, *a), random(dt.f32, *b), fixed)


@each_isa
@pytest.mark.parametrize("fixed", [True, False], ids=["constant", "variable"])
@pytest.mark.parametrize("turned", ["a", "b", "both", "out"])
def test_transposed(isa: Isa, turned: str, fixed: bool) -> None:
    m, n, k = 18, 50, 37
    a, b = random(dt.f32, m, k), random(dt.f32, k, n)
    a_turned, b_turned = turned in ("a", "both"), turned in ("b", "both")
    a_stored, b_stored = a.T.copy() if a_turned else a, b.T.copy() if b_turned else b
    x, y = variable(dt.f32, a_stored.shape), variable(dt.f32, (n, m) if turned == "out" else (m, n))
    w = constant(b_stored) if fixed else variable(dt.f32, b_stored.shape)
    region = product(
        operand(x, (m, k), (1, m) if a_turned else (k, 1)),
        operand(w, (k, n), (1, k) if b_turned else (n, 1)),
        operand(y, (m, n), (1, m) if turned == "out" else (n, 1)),
    )
    arrays = {x: a_stored} if fixed else {x: a_stored, w: b_stored}
    compare(region, build(gemm.STRATEGY, region, isa), isa, arrays, [a @ b])


@each_isa
def test_slices_of_larger_tensors(isa: Isa) -> None:
    a, b = random(dt.f32, 30, 50), random(dt.f32, 60, 70)
    x, w, y = variable(dt.f32, a.shape), variable(dt.f32, b.shape), variable(dt.f32, (40, 45))
    region = product(
        operand(x, (15, 20), (100, 2), 53), operand(w, (20, 33), (140, 2), 75), operand(y, (15, 33), (90, 1), 7)
    )
    wanted = a[1::2, 3:43:2] @ b[1:41:2, 5:71:2]
    compare(region, build(gemm.STRATEGY, region, isa), isa, {x: a, w: b}, [wanted])


def bias_add_relu() -> Body:
    f32 = (dt.f32,) * 3
    add = Instruction(Add(), (0, 1), dt.f32)
    return Body(f32, (add, Instruction(Add(), (3, 2), dt.f32), Instruction(Relu(), (4,), dt.f32)), (5,))


@each_isa
@pytest.mark.parametrize(("m", "n", "k"), [(1, 45, 19), (16, 45, 19), (43, 45, 19), (43, 200, 400), (60, 200, 1025)])
def test_bias_residual_and_activation_in_place(isa: Isa, m: int, n: int, k: int) -> None:
    a, b, bias, rest = random(dt.f32, m, k), random(dt.f32, k, n), random(dt.f32, n), random(dt.f32, m, n)
    x, y, c = variable(dt.f32, (m, k)), variable(dt.f32, (m, n)), variable(dt.f32, (n,))
    extra = (operand(c, (m, n), (0, 1)), dense(y))
    region = product(dense(x), dense(constant(b)), dense(y), bias_add_relu(), extra)
    wanted = np.maximum(a @ b + bias + rest, 0)
    compare(region, build(gemm.STRATEGY, region, isa), isa, {x: a, c: bias, y: rest}, [wanted], threads=4)


@each_isa
@pytest.mark.parametrize("strides", [(1, 0), (0, 0), (1, 14), (90, 2)], ids=str)
def test_operands_of_any_strides_and_several_outputs(isa: Isa, strides: tuple[int, int]) -> None:
    m, n, k = 14, 40, 8
    a, b, e = random(dt.f32, m, k), random(dt.f32, k, n), random(dt.f32, 2000)
    x, y, z, c = (variable(dt.f32, s) for s in ((m, k), (m, n), (n, m), (2000,)))
    narrow = variable(dt.f16, (m, n))
    body = Body(
        (dt.f32, dt.f32),
        (
            Instruction(Mul(), (0, 1), dt.f32),
            Instruction(Tanh(), (2,), dt.f32),
            Instruction(Cast(dt.f16), (2,), dt.f16),
        ),
        (2, 3, 4),
    )
    outputs = (dense(y), operand(z, (m, n), (1, m)), dense(narrow))
    region = Anchored((m, n), outputs, MatMul(), (dense(x), dense(constant(b))), body, (operand(c, (m, n), strides),))
    factor = np.lib.stride_tricks.as_strided(e, (m, n), tuple(4 * s for s in strides))
    wanted = (a @ b) * factor
    arrays = [wanted, np.tanh(wanted), wanted.astype(np.float16)]
    compare(region, build(gemm.STRATEGY, region, isa), isa, {x: a, c: e}, arrays, tolerance=1e-3)


@each_isa
def test_sizes_unseen_at_build(isa: Isa) -> None:
    rows, columns, terms = symbol("rows", 1), symbol("columns", 1), symbol("terms", 1)
    a, b, c = (Value(Type(dt.f32, shape)) for shape in ((rows, terms), (terms, columns), (rows, columns)))
    region = Anchored(
        (rows, columns),
        (Operand(c, dt.f32, (rows, columns), (columns, 1)),),
        MatMul(),
        (Operand(a, dt.f32, (rows, terms), (terms, 1)), Operand(b, dt.f32, (terms, columns), (columns, 1))),
        identity(dt.f32),
    )
    kernel = build(gemm.STRATEGY, region, isa)
    for m, n, k in ((1, 1, 1), (37, 50, 70), (200, 33, 1500)):
        x, w = random(dt.f32, m, k), random(dt.f32, k, n)
        sizes = {"rows": m, "columns": n, "terms": k}
        compare(region, kernel, isa, {a: x, b: w}, [x @ w], bindings=sizes)


@each_isa
def test_results_do_not_depend_on_the_number_of_threads(isa: Isa) -> None:
    a, b = random(dt.f32, 150, 700), random(dt.f32, 700, 300)
    results = {tuple(check(isa, a, b, threads=threads)) for threads in (1, 2, 3, 64)}
    assert len(results) == 1


def test_constants_of_equal_form_share_their_code() -> None:
    kernels = []
    for n in (64, 128):
        x, y = variable(dt.f32, (9, 16)), variable(dt.f32, (9, n))
        region = product(dense(x), dense(constant(random(dt.f32, 16, n))), dense(y))
        kernels.append(build(gemm.STRATEGY, region, ISAS[0]))
    assert kernels[0].stages[-1].source == kernels[1].stages[-1].source


def test_refusals_say_why() -> None:
    x, w, y = variable(dt.boolean, (4, 4)), variable(dt.boolean, (4, 4)), variable(dt.boolean, (4, 4))
    region = Anchored((4, 4), (dense(y),), MatMul(), (dense(x), dense(w)), identity(dt.boolean))
    found = gemm.STRATEGY.tactics(region, Target("cpu", "x86-64-v3"))
    assert isinstance(found, Refusal) and "boolean" in found.reason


FORMS = [(dt.f32, True), (dt.f32, False), (dt.f16, True), (dt.bf16, True), (dt.i8, True), (dt.f64, False)]


@pytest.mark.parametrize(("dtype", "fixed"), FORMS, ids=str)
def test_code_needs_nothing_from_outside(dtype: dt.DType, fixed: bool) -> None:
    for isa in (jit.V3, jit.V4, jit.AARCH64):
        x, y = variable(dtype, (20, 30)), variable(dt.i32 if dtype is dt.i8 else dtype, (20, 40))
        w = constant(random(dtype, 30, 40)) if fixed else variable(dtype, (30, 40))
        for stage in build(gemm.STRATEGY, product(dense(x), dense(w), dense(y)), isa).stages:
            assert jit.undefined(jit.object_of(stage.source, isa)) == []


def test_no_register_beyond_avx2_for_v3() -> None:
    x, y = variable(dt.f32, (20, 30)), variable(dt.f32, (20, 40))
    region = product(dense(x), dense(constant(random(dt.f32, 30, 40))), dense(y))
    (stage,) = build(gemm.STRATEGY, region, jit.V3).stages
    text = jit.machine(jit.V3).emit_assembly(llvm.parse_assembly(stage.source))
    assert "vfmadd231ps" in text
    assert re.search(r"zmm|mm(1[6-9]|2\d|3[01])\b|%k[0-7]", text) is None


def test_on_another_machine(tmp_path: Path) -> None:
    for dtype, tolerance, fixed, layout in (
        (dt.f32, 1e-5, True, "dense"),
        (dt.f32, 1e-5, False, "reversed"),
        (dt.f16, 1e-3, True, "dense"),
        (dt.i8, 0, False, "dense"),
    ):
        a, b = random(dtype, 2, 19, 37), random(dtype, 37, 29)
        given = [anchored.Given(a, layout), anchored.Given(b, "dense" if fixed else layout, constant=fixed)]
        check_emulated(gemm.STRATEGY, anchored.Case(MatMul(), given), tmp_path, tolerance)


@pytest.mark.parametrize(
    ("a_bytes", "b_bytes", "parts"),
    [(1, 1 << 20, (1, 64)), (1 << 20, 1, (16, 4)), (1 << 18, 1 << 20, (2, 32)), (1 << 18, 1 << 18, (4, 16))],
)
def test_many_threads_fetch_little(a_bytes: int, b_bytes: int, parts: tuple[int, int]) -> None:
    grid = cut._grid(a_bytes, b_bytes, copied=False, wanted=64)
    found = {name: evaluate(size, {"threads": 16}) for name, size in grid.items()}
    assert (found["row_parts"], found["column_parts"]) == parts
    few = cut._fitting(grid, 3, 5)
    assert [evaluate(size, {"threads": 16}) for size in few.values()] == [3, 5]


@pytest.mark.parametrize(
    ("parts", "blocks", "threads", "found"),
    [(9, 14, 2, 10), (5, 14, 2, 6), (13, 13, 2, 13), (7, 7, 2, 7), (13, 56, 2, 14), (1, 14, 2, 1), (9, 224, 16, 16)],
)
def test_rows_come_in_as_many_parts_as_all_threads_take_alike(
    parts: int, blocks: int, threads: int, found: int
) -> None:
    assert evaluate(cut._alike(parts, blocks, blocks), {"threads": threads}) == found


@pytest.mark.parametrize(
    ("blocks", "panels", "threads", "columns"),
    [(25, 32, 2, True), (24, 32, 2, False), (25, 31, 2, False), (25, 32, 1, False), (25, 32, 16, False)],
)
def test_few_threads_share_columns_where_rows_are_uneven(blocks: int, panels: int, threads: int, columns: bool) -> None:
    assert bool(evaluate(cut._uneven(blocks, panels), {"threads": threads})) == columns


@each_isa
@pytest.mark.parametrize("fixed", [True, False], ids=["constant", "variable"])
@pytest.mark.parametrize("kinds", [(dt.i8, dt.i8), (dt.u8, dt.i8), (dt.i16, dt.i8), (dt.i16, dt.i16), (dt.u8, dt.u8)])
def test_whole_numbers_of_16_bits_are_added_in_pairs(isa: Isa, fixed: bool, kinds: tuple[dt.DType, dt.DType]) -> None:
    """Exactly, whatever they are: sums that overflow wrap, as i32 does."""

    def any_of(dtype: dt.DType, *shape: int) -> Array:
        limits = np.iinfo(dtype.numpy)
        found = np.random.default_rng(3).integers(limits.min, limits.max, shape, endpoint=True)
        return np.where(np.arange(shape[-1]) % 3 == 0, limits.min, found).astype(dtype.numpy)

    for rows, terms, columns in ((1, 7, 33), (2, 64, 70), (13, 129, 49), (60, 1, 20), (75, 300, 100)):
        check(isa, any_of(kinds[0], rows, terms), any_of(kinds[1], terms, columns), fixed, low=rows % 2 == 0)
        check(isa, any_of(kinds[0], 3, rows, terms), any_of(kinds[1], 3, terms, columns), fixed, threads=3)


@each_isa
def test_whole_numbers_that_lie_apart_or_turned(isa: Isa) -> None:
    for rows in (5, 70):
        a, b = random(dt.i16, rows, 2 * 150), random(dt.i8, 90, 150)
        x, w, y = variable(dt.i16, a.shape), variable(dt.i8, b.shape), variable(dt.i32, (rows, 90))
        region = product(
            operand(x, (rows, 150), (300, 2), 1), operand(w, (150, 90), (1, 150)), operand(y, (rows, 90), (90, 1))
        )
        wanted = a[:, 1::2].astype(np.int32) @ b.T.astype(np.int32)
        compare(region, build(gemm.STRATEGY, region, isa), isa, {x: a, w: b}, [wanted])


def test_pairs_are_one_instruction() -> None:
    x, w, y = (variable(kind, (64, 64)) for kind in (dt.u8, dt.i8, dt.i32))
    kernel = build(gemm.STRATEGY, product(dense(x), dense(w), dense(y)), jit.V4)
    assembly = jit.assembly_of(kernel.stages[-1].source, jit.V4)
    assert "vpmaddwd" in assembly
    assert "vpmulld" in assembly, "of the last term, where their number is odd"
