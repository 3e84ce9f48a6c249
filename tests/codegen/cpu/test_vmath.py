from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
from llvmlite import ir

from tenfold import ops
from tenfold.codegen.cpu import vmath
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.vectors import F32, F64, I8, I32, I64, POINTER, Vectors
from tests.codegen.cpu import jit

LONG = np.longdouble
REFERENCE: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "erf": lambda x: np.vectorize(math.erf, otypes=[LONG])(x.astype(np.float64)),
    "power": np.power,
}  # fmt: skip
DOMAIN = {"asin": 1.0, "acos": 1.0, "atanh": 1.0}


def module_of(name: str, isa: Isa, double: bool, lanes: int) -> str:
    """stage(args = {x, y, out, count / lanes}): out = f(x[, y])."""
    module = ir.Module()
    stage = ir.Function(module, ir.FunctionType(I32, [POINTER, I64, POINTER]), "stage")
    builder = ir.IRBuilder(stage.append_basic_block())
    slots = [builder.gep(stage.args[0], [ir.Constant(I64, k)], source_etype=I64) for k in range(4)]
    x, y, out = (builder.load(slot, typ=POINTER) for slot in slots[:3])
    count = builder.load(slots[3], typ=I64)
    code = Vectors(builder, isa, lanes)
    kind = code.type(F64 if double else F32)
    loop, done = (builder.append_basic_block(one) for one in ("loop", "done"))
    entry = builder.block
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), entry)
    place = builder.mul(index, ir.Constant(I64, lanes * (8 if double else 4)))
    arguments = [
        code.wrap(builder.load(builder.gep(base, [place], source_etype=I8), typ=kind, align=4)) for base in (x, y)
    ]
    arguments = arguments[: 2 if name == "power" else 1]
    result = vmath.FUNCTIONS[name](*arguments)
    builder.store(result.value, builder.gep(out, [place], source_etype=I8), align=4)
    following = builder.add(index, ir.Constant(I64, 1))
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_unsigned("<", following, count), loop, done)
    builder.position_at_end(done)
    builder.ret(ir.Constant(I32, 0))
    return str(module)


@functools.cache
def function(name: str, isa: Isa, double: bool, lanes: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    stage = jit.load(module_of(name, isa, double, lanes), isa)

    def run(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        count = len(x) // lanes
        assert count * lanes == len(x)
        args = (ctypes.c_uint64 * 4)(x.ctypes.data, y.ctypes.data, out.ctypes.data, count)
        assert stage(ctypes.addressof(args), 0, None) == 0
        return out

    return run


def samples(name: str, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    info = np.finfo(dtype)
    n = 1 << 15
    bits = np.frombuffer(rng.bytes(n * info.dtype.itemsize), dtype)
    top = DOMAIN.get(name, 710.0 if dtype is np.float64 else 90.0)
    special = np.array(
        [0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, np.inf, -np.inf, np.nan, info.tiny, -info.tiny, info.smallest_subnormal,
         -info.smallest_subnormal, info.max, info.min, info.eps, 1 - info.epsneg, 1 + info.eps, 100, -100, 1e5, 1e9,
         math.pi, math.pi / 2, math.pi / 4, 88.72284, -87.33655, -103.97208, 709.782712893384, -745.1332191019411],
        dtype,
    )  # fmt: skip
    parts = [
        bits,
        rng.uniform(-top, top, n).astype(dtype),
        (rng.uniform(-1, 1, n) * 10.0 ** rng.uniform(-9, 0, n)).astype(dtype),
        (1 + rng.uniform(-0.5, 0.5, n)).astype(dtype),
        np.resize(special, 16 * len(special)),
        np.zeros(len(special) ** 2, dtype),
    ]
    x = np.concatenate(parts)
    x = np.resize(x, len(x) // 32 * 32)
    scale = rng.choice([0.5, 3, 40], len(x))
    y = (rng.standard_normal(len(x)) * scale).astype(dtype)
    whole = rng.random(len(x)) < 0.3
    y = np.where(whole, np.rint(y), y)
    start = len(x) - len(special) ** 2 // 32 * 32
    x[start:] = np.repeat(special, len(special))[: len(x) - start]
    y[start:] = np.resize(special, len(x) - start)
    return x, y


def distance(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Units in the last place between results and exact values; infinity where the kind of number differs."""
    dtype = found.dtype
    with np.errstate(all="ignore"):
        near = exact.astype(dtype)
        unit = np.spacing(np.maximum(np.abs(near), np.finfo(dtype).tiny)).astype(LONG)
        unit = np.where(np.isinf(near), np.spacing(np.finfo(dtype).max).astype(LONG), unit)
        apart = np.abs(found.astype(LONG) - exact.astype(LONG)) / unit
    same = (np.isnan(found) & np.isnan(exact)) | (found == near)
    overflow = np.isinf(found) ^ np.isinf(near)
    beyond = overflow & (np.abs(np.where(np.isinf(found), near, found)) > np.finfo(dtype).max * 0.999999)
    apart = np.where(same, np.where(found == near, np.minimum(np.nan_to_num(apart), 1), 0), apart)
    return np.where(beyond, 1, np.where(np.isnan(apart), np.inf, apart)).astype(np.float64)


@pytest.mark.parametrize("double", [False, True], ids=["f32", "f64"])
@pytest.mark.parametrize("name", vmath.ULP)
def test_stated_accuracy(name: str, double: bool) -> None:
    x, y = samples(name, np.float64 if double else np.float32)
    with np.errstate(all="ignore"):
        arguments = (x.astype(LONG), y.astype(LONG))[: 2 if name == "power" else 1]
        exact = REFERENCE[name](*arguments)
    for isa in jit.runnable():
        found = function(name, isa, double, isa.lanes(4))(x, y)
        apart = distance(found, exact)
        worst = int(apart.argmax())
        limit = vmath.ULP[name][double] + (0.6 if name == "erf" and double else 0)
        assert apart[worst] <= limit, (isa.level, x[worst], y[worst], found[worst], exact[worst], apart[worst])
        if name != "power":
            zero = (x == 0) & ~np.isnan(exact)
            assert (np.signbit(found[zero]) == np.signbit(exact[zero])).all(), "signed zeros"


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("name", ["exp", "sin", "power", "tanh"])
def test_lanes_change_no_bit(name: str, lanes: int) -> None:
    x, y = samples(name, np.float32)
    isa = jit.runnable()[-1]
    expected = function(name, isa, False, 16)(x, y)
    assert np.array_equal(function(name, isa, False, lanes)(x, y), expected, equal_nan=True)


@pytest.mark.parametrize("isa", jit.ROWS, ids=lambda row: row.level)
@pytest.mark.parametrize("name", vmath.ULP)
def test_compiles_without_calls(name: str, isa: Isa) -> None:
    for double in (False, True):
        assert jit.undefined(jit.object_of(module_of(name, isa, double, isa.lanes(4)), isa)) == []


@pytest.mark.parametrize("isa", jit.runnable(), ids=lambda row: row.level)
def test_logistic_divisor(isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vmath.FUNCTIONS, "logistic_divisor", vmath.logistic_divisor)
    x = np.concatenate([np.linspace(-87, 87, 1 << 14), [0, -0.0, 1e30, -1e30, np.inf, -np.inf, np.nan, -88]])
    x = np.resize(x, (1 << 14) + 16).astype(np.float32)
    found = function("logistic_divisor", isa, False, isa.lanes(4))(x, x) - np.float32(1)
    with np.errstate(over="ignore"):
        exact = np.exp(-x.astype(LONG))
    near = np.abs(x) <= 87
    allowed = (2 + np.abs(x[near]) / 4) * 2.0**-23 * np.maximum(exact[near], 1)
    assert (np.abs(found[near] - exact[near]) <= allowed).all()
    assert np.isnan(found[np.isnan(x)]).all()
    payloads = np.arange(0x7F800001, 0x80000000, 499, np.uint32)[: 1 << 14].view(np.float32)
    assert np.isnan(function("logistic_divisor", isa, False, isa.lanes(4))(payloads, payloads)).all()
    assert (found[x > 87] < 1e-30).all() and (found[x < -87] > 1e37).all()


@pytest.mark.parametrize("isa", jit.runnable(), ids=lambda row: row.level)
def test_silu(isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vmath.FUNCTIONS, "silu", vmath.silu)
    x = np.concatenate([np.linspace(-60, 60, 1 << 16), [0, -0.0, 1e-30, -1e-40, 1e30, np.inf, np.nan, -500]])
    x = np.resize(x, (1 << 16) + 32).astype(np.float32)
    found = function("silu", isa, False, isa.lanes(4))(x, x)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        exact = ops.Silu().compute(wide)
        near = (np.abs(wide) <= 60) & (wide != 0)
        error = np.abs(found[near] - exact[near])
        assert (error <= (2 + np.abs(wide[near]) / 4) * 2.0**-23 * np.abs(exact[near]) + 1e-45).all()
    assert np.isnan(found[np.isnan(x)]).all() and (found[x == np.inf] == np.inf).all()
    assert np.array_equal(found[x >= 1e30], x[x >= 1e30]) and (np.abs(found[x < -60]) < 1e-20).all()
    assert (np.signbit(found[x == 0]) == np.signbit(x[x == 0])).all()
    for lanes in (1, 2, 8, 32) if isa.masks else ():
        assert np.array_equal(function("silu", isa, False, lanes)(x, x), found, equal_nan=True)


@pytest.mark.parametrize("isa", jit.runnable(), ids=lambda row: row.level)
@pytest.mark.parametrize("alpha", [1.0, 1.702, -0.25], ids=["silu", "swish", "reversed"])
def test_silu_and_swish_of_every_size(alpha: float, isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"swish-{alpha}"
    swish = vmath.silu if alpha == 1 else lambda x: x / vmath.logistic_divisor(x * alpha)
    monkeypatch.setitem(vmath.FUNCTIONS, name, swish)
    every = np.arange(0, 1 << 32, 9973, dtype=np.uint64).astype(np.uint32).view(np.float32)
    ends = np.concatenate([np.linspace(start, start + 3, 4096) for start in (-105, -90, -88, 85, 87)])
    special = np.float32([0.0, -0.0, 1e-45, -1e-45, 1.17e-38, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan])
    x = np.concatenate([every, ends.astype(np.float32), special])
    x = np.resize(x, len(x) // 32 * 32 + 32)
    found = function(name, isa, False, isa.lanes(4))(x, x)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        exact = ops.Swish(alpha).compute(wide)
        units = 2 + np.minimum(np.abs(alpha * wide), 90) * (0.25 if alpha == 1 else 1.25)
        allowed = units * 2.0**-23 * np.abs(exact) + 1e-36 / abs(alpha)
        finite = np.isfinite(exact) & np.isfinite(x)
        assert (np.abs(found[finite] - exact[finite]) <= allowed[finite]).all()
    assert np.array_equal(found[~finite], exact[~finite].astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("isa", jit.runnable(), ids=lambda row: row.level)
@pytest.mark.parametrize("approximate", [False, True], ids=["erf", "tanh"])
def test_gelu(approximate: bool, isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gelu-{approximate}"
    monkeypatch.setitem(vmath.FUNCTIONS, name, functools.partial(vmath.gelu, approximate=approximate))
    given = np.concatenate([np.linspace(-9, 9, 1 << 16), [0, -0.0, 1e-30, 1e30, -1e30, np.inf, -np.inf, np.nan, -40]])
    x = np.resize(given, (1 << 16) + 32).astype(np.float32)
    found = function(name, isa, False, isa.lanes(4))(x, x)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        exact = ops.Gelu(approximate).compute(wide)
    exact = np.where(wide < -30, 0, np.where(wide == np.inf, np.inf, exact))
    finite = np.isfinite(wide)
    error = np.abs(found[finite] - exact[finite])
    size = np.abs(wide[finite])
    assert (error <= 3e-7 * np.maximum(size, 1e-30)).all()
    assert np.isnan(found[np.isnan(x)]).all() and (found[x == np.inf] == np.inf).all()
    if isa.masks:
        assert (error <= 2e-7 + np.spacing(exact[finite].astype(np.float32)) / 2).all()
        assert (np.abs(found[x < -6]) == 0).all() and (np.signbit(found[x == 0]) == np.signbit(x[x == 0])).all()
        for lanes in (1, 2, 8, 32):
            assert np.array_equal(function(name, isa, False, lanes)(x, x), found, equal_nan=True)
