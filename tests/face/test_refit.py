"""Refit: other weights, no compiler, and the same answers as a new build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import tenfold
from tests.face import models

Weights = dict[str, np.ndarray]


def network() -> ModelProto:
    """Convolution, batch norm, depthwise convolution, pooling, a product whose weight is transposed, a softmax."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    weights = {
        "conv.weight": normal(8, 3, 3, 3),
        "conv.bias": normal(8),
        "bn.scale": normal(8),
        "bn.bias": normal(8),
        "bn.mean": normal(8),
        "bn.var": random.random(8, np.float32) + 0.5,
        "deep.weight": normal(8, 1, 3, 3),
        "head.weight": normal(5, 8),
        "head.bias": normal(5),
        "ones": np.ones(5, np.float32),
        "factor": np.array(0.5, np.float32),
        "shape": np.array([-1, 8], np.int64),
        "unused": normal(3),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("BatchNormalization", ["a", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["b"], name="bn"),
        helper.make_node("Relu", ["b"], ["c"], name="relu"),
        helper.make_node("Conv", ["c", "deep.weight"], ["d"], group=8, name="deep"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], name="pool"),
        helper.make_node("Reshape", ["e", "shape"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["g"], transB=1, name="head"),
        helper.make_node("Mul", ["g", "ones"], ["h"], name="nothing"),
        helper.make_node("Mul", ["h", "factor"], ["i"], name="half"),
        helper.make_node("Softmax", ["i"], ["y"], name="softmax"),
    ]
    return models.model(nodes, [models.floats("x", "n", 3, 8, 8)], [models.floats("y", "n", 5)], weights)


def changed(made: ModelProto, weights: Weights) -> ModelProto:
    """The model with other weights."""
    copy = ModelProto()
    copy.CopyFrom(made)
    for tensor in copy.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return copy


def others(made: ModelProto, *names: str) -> Weights:
    """Other values for some weights of a model."""
    random = np.random.default_rng(9)
    own = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    return {name: (random.random(own[name].shape) + 0.5).astype(own[name].dtype) for name in names}


@pytest.fixture(scope="module")
def engine() -> tenfold.Engine:
    return tenfold.build(network(), cache=False)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)


CHOICES = [
    ("head.weight",),
    ("head.bias",),
    ("conv.weight",),
    ("conv.bias",),
    ("bn.mean", "bn.var"),
    ("deep.weight",),
    ("conv.weight", "conv.bias", "bn.scale", "bn.bias", "bn.mean", "bn.var", "deep.weight", "head.weight", "head.bias"),
]


@pytest.mark.parametrize("names", CHOICES)
def test_a_refit_answers_as_a_new_build(engine: tenfold.Engine, x: np.ndarray, names: tuple[str, ...]) -> None:
    weights = others(network(), *names)
    before = engine(x)
    fresh = tenfold.build(changed(network(), weights), cache=False)
    refitted = engine.refit(weights)
    np.testing.assert_array_equal(refitted(x), fresh(x))
    np.testing.assert_array_equal(engine(x), before)
    assert not np.array_equal(refitted(x), before)


def test_a_refit_of_a_refit(engine: tenfold.Engine, x: np.ndarray) -> None:
    one, two = others(network(), "head.weight"), others(network(), "deep.weight")
    np.testing.assert_array_equal(engine.refit(one).refit(two)(x), engine.refit(one | two)(x))


def test_two_targets_share_their_weights(x: np.ndarray) -> None:
    targets = "cpu:x86-64-v3,cpu"
    weights = others(network(), *CHOICES[-1])
    refitted = tenfold.build(network(), target=targets, cache=False).refit(weights)
    fresh = tenfold.build(changed(network(), weights), target=targets, cache=False)
    np.testing.assert_array_equal(refitted.file.section("weights"), fresh.file.section("weights"))


def test_what_decided_the_graph_is_refused_unless_it_stays(engine: tenfold.Engine, x: np.ndarray) -> None:
    same = {"ones": np.ones(5, np.float32), "factor": np.array(0.5, np.float32), "shape": np.array([-1, 8])}
    np.testing.assert_array_equal(engine.refit(same)(x), engine(x))
    for name, value in (("ones", np.full(5, 2, np.float32)), ("shape", np.array([8, -1]))):
        with pytest.raises(tenfold.InputError, match=name) as caught:
            engine.refit({name: value})
        assert caught.value.argument == name
    engine.refit({"unused": np.zeros(3, np.float32)})


def test_numbers_in_the_code_are_found_again_or_refused(engine: tenfold.Engine, x: np.ndarray) -> None:
    weights = {"factor": np.array(2, np.float32)}
    try:
        refitted = engine.refit(weights)
    except tenfold.InputError as error:
        assert "factor" in str(error)
        assert any("factor" in one["weights"] for one in engine.report["decisions"])
    else:
        fresh = tenfold.build(changed(network(), weights), cache=False)
        np.testing.assert_array_equal(refitted(x), fresh(x))


def test_equal_weights_are_told_apart() -> None:
    same = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "one"], ["a"], name="a"),
        helper.make_node("MatMul", ["x", "two"], ["b"], name="b"),
        helper.make_node("Sub", ["a", "b"], ["y"], name="minus"),
    ]
    made = models.model(nodes, [models.floats("x", "n", 8)], [models.floats("y", "n", 8)], {"one": same, "two": same})
    engine, x = tenfold.build(made, cache=False), np.eye(8, dtype=np.float32)
    assert not engine(x).any()
    np.testing.assert_allclose(engine.refit({"two": 3 * same})(x), -2 * same, rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"head.wieght": np.zeros((5, 8), np.float32)}, "did you mean 'head.weight'"),
        ({"head.weight": np.zeros((5, 8))}, "float64"),
        ({"head.weight": np.zeros((8, 5), np.float32)}, "head.weight"),
    ],
)
def test_bad_weights(engine: tenfold.Engine, weights: Weights, said: str) -> None:
    with pytest.raises(tenfold.InputError, match=said):
        engine.refit(weights)


def test_large_partners_must_be_given_too() -> None:
    random = np.random.default_rng(0)
    one, two = (random.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    nodes = [
        helper.make_node("Mul", ["one", "two"], ["w"], name="fold"),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    ends = [models.floats("x", "n", 256)], [models.floats("y", "n", 256)]
    engine = tenfold.build(models.model(nodes, *ends, {"one": one, "two": two}), cache=False)
    with pytest.raises(tenfold.InputError, match="two") as caught:
        engine.refit({"one": 2 * one})
    assert caught.value.argument == "two"
    x = random.standard_normal((3, 256)).astype(np.float32)
    np.testing.assert_allclose(engine.refit({"one": 2 * one, "two": two})(x), 2 * engine(x), rtol=1e-4)


def test_constants_of_the_models_nodes_are_weights_too() -> None:
    value = numpy_helper.from_array(np.arange(32, dtype=np.float32).reshape(4, 8))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value, name="constant"),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
    ]
    engine = tenfold.build(models.model(nodes, [models.floats("x", 1, 4)], [models.floats("y", 1, 8)], {}), cache=False)
    refitted = engine.refit({"w": np.ones((4, 8), np.float32)})
    np.testing.assert_array_equal(refitted(np.ones((1, 4), np.float32)), np.full((1, 8), 4.0))


def test_no_compiler_is_needed(engine: tenfold.Engine, x: np.ndarray, tmp_path: Path) -> None:
    weights = others(network(), *CHOICES[-1])
    engine.save(tmp_path / "one.tenfold")
    np.savez(tmp_path / "weights.npz", **weights)
    np.save(tmp_path / "x.npy", x)
    program = f"""
import sys
for name in ("llvmlite", "onnx", "tenfold.compiler", "tenfold.codegen", "tenfold.passes"):
    sys.modules[name] = None
import numpy, tenfold
engine = tenfold.load({str(tmp_path / "one.tenfold")!r})
engine = engine.refit(dict(numpy.load({str(tmp_path / "weights.npz")!r})))
engine.save({str(tmp_path / "two.tenfold")!r})
numpy.save({str(tmp_path / "y.npy")!r}, engine(numpy.load({str(tmp_path / "x.npy")!r})))
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), engine.refit(weights)(x))
    np.testing.assert_array_equal(
        tenfold.load(tmp_path / "two.tenfold", verify="sha256")(x), np.load(tmp_path / "y.npy")
    )


def test_integer_weights() -> None:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"], name="look")]
    info = helper.make_tensor_value_info
    ends = [info("x", TensorProto.INT64, ["n"])], [info("y", TensorProto.INT32, ["n", 3])]
    table = np.arange(300, dtype=np.int32).reshape(100, 3)
    engine = tenfold.build(models.model(nodes, *ends, {"table": table}), cache=False)
    np.testing.assert_array_equal(engine.refit({"table": -table})(np.array([7, 99])), -table[[7, 99]])
