"""Small networks on the emulated GPU, beside the interpreter; each is built as one engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.target import Target
from tests.runtime.cuda.emulated import FakeDriver, gpu

from tenfold.codegen.cuda import contraction, strategies  # isort: skip
from tenfold.codegen.cuda.conv import kept  # isort: skip

RNG = np.random.default_rng(11)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver: FakeDriver = gpu(monkeypatch)
    return driver


def weight(*shape: int, dtype: dt.DType = dt.f16) -> Value:
    value: Value = ops.Constant(Tensor((RNG.standard_normal(shape) / 4).astype(dtype.numpy)))()
    return value


def held(
    shapes: Sequence[tuple[int, ...]], make: Callable[..., Value | tuple[Value, ...]], dtype: dt.DType = dt.f16,
    tolerance: float = 4e-3, hosted: int = 0,
) -> tenfold.Engine:  # fmt: skip
    """The engine of a graph agrees with the interpreter norm-wise on random inputs."""
    graph = Graph()
    inputs = [graph.input(f"x{number}", Type(dtype, shape)) for number, shape in enumerate(shapes)]
    made = make(*inputs)
    outputs = made if isinstance(made, tuple) else (made,)
    graph.set_outputs(outputs, [f"y{number}" for number in range(len(outputs))])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0)
    assert [region["tier"] for region in engine.report["regions"]].count("host") == hosted, engine.report["regions"]
    arrays = [RNG.standard_normal(shape).astype(dtype.numpy) for shape in shapes]
    wanted = Interpreter({}).call(graph, arrays)
    with engine.context() as context:
        for found, exact in zip(context.run(arrays).values(), wanted, strict=True):
            assert found.shape == exact.shape and found.dtype == exact.dtype
            distance = np.linalg.norm(found.astype(np.float64) - exact.astype(np.float64))
            assert distance <= tolerance * max(np.linalg.norm(exact.astype(np.float64)), 1e-3)
    return engine


def conv(x: Value, o: int, k: int = 3, stride: int = 1, pad: int = 0, dilation: int = 1, groups: int = 1) -> Value:
    axes, channels = x.type.rank - 2, x.type.shape[1]
    assert isinstance(channels, int)
    w = weight(o, channels // groups, *(k,) * axes, dtype=x.type.dtype)
    value: Value = ops.Conv(*((one,) * axes for one in (stride, dilation, pad, pad)), groups)(x, w)
    return value


def bias(x: Value) -> Value:
    channels = x.type.shape[1]
    assert isinstance(channels, int)
    value: Value = ops.Add()(x, weight(1, channels, *(1,) * (x.type.rank - 2), dtype=x.type.dtype))
    return value


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], Callable[[Value], Value]]] = {
    "3x3": ((1, 32, 9, 7), lambda x: ops.Relu()(bias(conv(x, 24, pad=1)))),
    "strided": ((2, 16, 10, 9), lambda x: conv(x, 40, stride=2, pad=1)),
    "1x1": ((2, 24, 5, 6), lambda x: ops.Relu()(bias(conv(x, 40, k=1)))),
    "1x1 strided": ((1, 24, 6, 6), lambda x: conv(x, 16, k=1, stride=2)),
    "first": ((1, 3, 20, 18), lambda x: ops.Relu()(bias(conv(x, 16, k=7, stride=2, pad=3)))),
    "dilated": ((1, 16, 11, 11), lambda x: conv(x, 16, dilation=2, pad=2)),
    "grouped": ((1, 32, 6, 6), lambda x: conv(x, 48, pad=1, groups=2)),
    "depthwise": ((1, 24, 9, 8), lambda x: ops.Relu()(bias(conv(x, 24, pad=1, groups=24)))),
    "depthwise strided": ((2, 16, 9, 8), lambda x: conv(x, 16, k=5, stride=2, pad=2, groups=16)),
    "multiplied": ((1, 8, 6, 6), lambda x: conv(x, 16, pad=1, groups=8)),
    "1-D": ((2, 16, 19), lambda x: conv(x, 24, k=5, pad=2)),
    "3-D": ((1, 8, 4, 5, 4), lambda x: conv(x, 16, pad=1)),
    "residual": ((1, 32, 6, 6), lambda x: ops.Relu()(ops.Add()(bias(conv(ops.Relu()(x), 32, pad=1)), x))),
    "twice": ((1, 3, 12, 12), lambda x: conv(ops.Relu()(bias(conv(x, 16, stride=2, pad=1))), 32, pad=1)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(driver: FakeDriver, name: str) -> None:
    shape, make = CONVOLUTIONS[name]
    held([shape], make)


def test_convolution_in_f32(driver: FakeDriver) -> None:
    held([(1, 5, 7, 6)], lambda x: bias(conv(x, 12, pad=1)), dt.f32, 1e-5)


@pytest.mark.parametrize("name", ["residual", "first", "depthwise strided", "grouped", "3-D"])
def test_convolutions_in_bf16(driver: FakeDriver, name: str) -> None:
    shape, make = CONVOLUTIONS[name]
    held([shape], make, dt.bf16, 3e-2)


@pytest.mark.parametrize("which", [1, 3, 5, 8])
def test_other_tactics(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    for strategy in strategies.STRATEGIES:
        plain = type(strategy).tactics

        def turned(self: object, *given: object, plain: object = plain) -> object:
            found = plain(self, *given)  # type: ignore[operator]
            return [*found[which % len(found) :], *found] if isinstance(found, Sequence) else found

        monkeypatch.setattr(type(strategy), "tactics", turned)
    held([(1, 32, 6, 7)], lambda x: conv(ops.Relu()(bias(conv(x, 48, pad=1))), 40, k=1))


def residual(x: Value) -> Value:
    value: Value = ops.Relu()(ops.Add()(bias(conv(x, 32, pad=2, dilation=2)), x))
    return value


def residual_of(x: Value) -> Value:
    value: Value = ops.Add()(bias(conv(x, 192, k=1)), x)
    return value


def pooled(x: Value) -> Value:
    value: Value = ops.Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1))(x)
    return value


WAYS: dict[str, tuple[tuple[int, ...], Callable[[Value], Value]]] = {
    "spanned": ((2, 3, 19, 14), lambda x: ops.Relu()(bias(conv(x, 24, k=7, stride=2, pad=3)))),
    "spanned in even steps": ((2, 3, 21, 16), lambda x: bias(conv(x, 24, k=4, stride=4))),
    "boxes of steps over pixels": ((2, 32, 7, 9), lambda x: conv(conv(x, 32, k=1), 24, k=1, stride=2)),
    "lines": ((2, 3, 14, 18), lambda x: pooled(ops.Relu()(bias(conv(x, 24, k=7, stride=2, pad=3))))),
    "lines of odd steps": ((2, 4, 7, 9), lambda x: bias(conv(x, 40, pad=1))),
    "kept": ((2, 64, 9, 7), lambda x: pooled(ops.Relu()(bias(conv(x, 64, pad=1))))),
    "depthwise of whole tiles": ((1, 32, 5, 7), lambda x: bias(conv(x, 32, k=7, pad=3, groups=32))),
    "implicit": ((1, 24, 7, 9), lambda x: ops.Relu()(bias(conv(x, 40, pad=1, stride=2)))),
    "sliced": ((2, 24, 5, 3), lambda x: ops.Relu()(bias(conv(x, 40, k=1)))),
    "persistent": ((2, 24, 5, 7), lambda x: ops.Relu()(bias(conv(x, 40, k=1)))),
    "depthwise": ((1, 40, 5, 11), lambda x: ops.Relu()(bias(conv(x, 40, pad=2, dilation=2, groups=40)))),
    "depthwise strided": ((2, 24, 5, 11), lambda x: bias(conv(x, 24, k=5, stride=2, pad=2, groups=24))),
    "stream": ((1, 24, 1, 1), lambda x: ops.Relu()(bias(conv(x, 40, k=1)))),
    "boxes in parts": ((2, 64, 5, 7), lambda x: residual_of(conv(x, 192, k=1))),
    "boxes": ((2, 24, 5, 7), lambda x: ops.Relu()(bias(conv(x, 40, k=1)))),
    "boxes of windows": ((2, 32, 5, 7), lambda x: ops.Relu()(bias(conv(x, 40, pad=1)))),
    "boxes of steps": ((2, 32, 6, 10), lambda x: ops.Relu()(bias(conv(x, 24, k=3, pad=1, stride=2)))),
    "boxes beside": ((1, 32, 6, 5), lambda x: residual(conv(x, 32, k=1))),
}


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("way", WAYS)
def test_each_way(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, way: str, which: int) -> None:
    monkeypatch.setattr(kept, "LOOKS_FURTHER", True)
    strategy, plain = contraction.STRATEGY._strategies[way.partition(" ")[0]], contraction.Contraction.tactics
    taken = []

    def only(self: contraction.Contraction, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        found = strategy.tactics(region, target)
        if isinstance(found, Refusal):
            return plain(self, region, target)
        taken.append(region)
        return [found[which]]

    monkeypatch.setattr(contraction.Contraction, "tactics", only)
    shape, make = WAYS[way]
    held([shape], make)
    assert taken


POOLS: dict[str, Callable[[Value], Value]] = {
    "max": lambda x: ops.Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1))(x),
    "average": lambda x: ops.Pool("average", (2, 2), (2, 2), (1, 1), (0, 0), (0, 0))(x),
    "global": lambda x: ops.Reduce("mean", (2, 3), True)(x),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools(driver: FakeDriver, name: str) -> None:
    held([(1, 8, 8, 6)], lambda x: POOLS[name](ops.Relu()(conv(x, 16, pad=1))))


@pytest.mark.parametrize("how", ["mean", "max"])
def test_images_in_slices(driver: FakeDriver, how: str) -> None:
    held([(2, 8, 31, 33)], lambda x: ops.Reduce(how, (2, 3), True)(conv(x, 16, k=1)))


@pytest.mark.parametrize("precision", ["f16", "model"])
def test_halves_of_a_product_meet(driver: FakeDriver, precision: str) -> None:
    def gated(x: Value) -> Value:
        left, right = ops.Split(1, (96, 96))(ops.Add()(ops.MatMul()(x, weight(64, 192)), weight(192)))
        value: Value = ops.MatMul()(ops.Mul()(left, ops.Gelu()(right)), weight(96, 16))
        return value

    graph = Graph()
    x = graph.input("x", Type(dt.f16, (100, 64)))
    graph.set_outputs([gated(x)], ["y"])
    array = RNG.standard_normal((100, 64)).astype(np.float16)
    (wanted,) = Interpreter({}).call(graph, [array])
    engine = tenfold.build(graph, target="cuda:sm_90", cache=False, effort=0, precision=precision)
    kinds = [region["kind"] for region in engine.report["regions"]]
    assert kinds[0] == "PairedMatMul Add Gelu Mul" and len(kinds) == 2, kinds
    with engine.context() as context:
        (found,) = context.run([array]).values()
    assert np.linalg.norm(found.astype(np.float64) - wanted) <= 4e-3 * np.linalg.norm(wanted.astype(np.float64))


@pytest.mark.parametrize("dtype", [dt.f16, dt.bf16], ids=str)
def test_a_gated_layer_is_two_products(driver: FakeDriver, dtype: dt.DType) -> None:
    def gated(x: Value, residual: Value) -> Value:
        gate, up = (ops.MatMul()(x, weight(64, 96, dtype=dtype)) for _ in range(2))
        down = ops.MatMul()(ops.Mul()(ops.Silu()(gate), up), weight(96, 40, dtype=dtype))
        value: Value = ops.Add()(down, residual)
        return value

    engine = held([(100, 64), (100, 40)], gated, dtype, 2e-2 if dtype is dt.bf16 else 4e-3)
    kinds = [region["kind"] for region in engine.report["regions"]]
    assert kinds == ["PairedMatMul Silu Mul", "MatMul Add"], kinds


def test_products_in_stacks(driver: FakeDriver) -> None:
    held([(2, 3, 20, 24), (2, 3, 24, 17)], lambda a, b: ops.MatMul()(a, b))
    held([(2, 3, 20, 24)], lambda a: ops.MatMul()(ops.Transpose((0, 2, 1, 3))(a), weight(24, 16)))


@pytest.mark.parametrize("dtype", [dt.bf16, dt.f64, dt.i32], ids=str)
@pytest.mark.parametrize("shapes", [((37,), (37,)), ((5, 13, 37), (37,)), ((37,), (3, 37, 21)), ((7, 3, 5), (7, 5, 9))])
def test_products_of_vectors_and_small_matrices(
    driver: FakeDriver, shapes: Sequence[tuple[int, ...]], dtype: dt.DType
) -> None:
    engine = held(shapes, lambda a, b: ops.MatMul()(a, b), dtype, 1e-2 if dtype is dt.bf16 else 1e-12)
    assert {region["place"] for region in engine.report["regions"]} == {"cuda"}


def attention(dtype: dt.DType, *mask: Value, heads: int = 4, shared: int = 2, t: int = 37, **options: object) -> None:
    shapes = [(2, heads, 21, 24), (2, shared, t, 24), (2, shared, t, 24)]
    tolerance = {dt.f16: 4e-3, dt.bf16: 3e-2, dt.f32: 1e-5}[dtype]
    held(shapes, lambda q, k, v: ops.Attention(0.2, **options)(q, k, v, *mask), dtype, tolerance)  # type: ignore[arg-type]


def test_attention(driver: FakeDriver) -> None:
    attention(dt.f16)
    attention(dt.bf16, heads=6, t=11)


def test_causal_attention(driver: FakeDriver) -> None:
    attention(dt.f16, causal=True, offset=3)


def test_attention_with_an_added_mask(driver: FakeDriver) -> None:
    attention(dt.f16, weight(2, 1, 1, 37))
    attention(dt.f32, weight(4, 21, 37, dtype=dt.f32), softcap=2.0)


def test_attention_where_some_see_nothing(driver: FakeDriver) -> None:
    seen = np.tril(np.ones((21, 37), np.bool_), -3)
    attention(dt.f16, ops.Constant(Tensor(seen))())


def test_a_block_of_a_transformer(driver: FakeDriver) -> None:
    """Queries, keys and values from one product, heads apart; the product after it reads the heads joined."""

    def block(x: Value) -> Value:
        joined = ops.MatMul()(x, weight(32, 96))
        q, k, v = (
            ops.Transpose((0, 2, 1, 3))(ops.Reshape((1, 19, 4, 8))(one)) for one in ops.Split(2, (32, 32, 32))(joined)
        )
        seen = ops.Reshape((1, 19, 32))(ops.Transpose((0, 2, 1, 3))(ops.Attention(0.35)(q, k, v)))
        mixed = ops.Add()(ops.Add()(ops.MatMul()(seen, weight(32, 32)), weight(32)), x)
        value: Value = ops.LayerNorm(2, 1e-5)(mixed, weight(32), weight(32))
        return value

    engine = held([(1, 19, 32)], block)
    assert len(engine.report["regions"]) == 4


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_one_query_in_slices_of_the_keys(driver: FakeDriver, causal: bool) -> None:
    def attend(q: Value, k: Value, v: Value) -> Value:
        value: Value = ops.Attention(0.125, causal=causal, offset=290)(q, k, v)
        return value

    engine = held([(1, 4, 1, 64), (1, 2, 300, 64), (1, 2, 300, 64)], attend)
    assert "slices=4" in engine.report["regions"][0]["tactic"]
