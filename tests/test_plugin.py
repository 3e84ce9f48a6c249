"""Plugins: converters, operations, rules and strategies of a user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import tenfold
from tenfold import ops
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Kernel, Refusal, Tactic
from tenfold.errors import EngineError, ExecutionError, ModelError, OptionError, UnsupportedError
from tenfold.importers.convert import Operator
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.elementwise import Elementwise
from tenfold.plugin import Plugin
from tenfold.rewrite.rule import Replacement, rule
from tenfold.target import Target


class Cube(Elementwise):
    """x³."""

    def compute(self, x: Array) -> Array:
        return x * x * x

    def expand(self, x: Value) -> Value:
        return ops.Mul()(ops.Mul()(x, x), x)


class Reversed(Op):
    """The elements of the first axis, last first."""

    def infer(self, x: Type) -> Type:
        return Type(x.dtype, x.shape)

    def evaluate(self, x: Array) -> Array:
        return x[::-1].copy()


@rule("graph (%x: f32[2]) { return Exp(%x) }", "graph (%x: f32[2]) { return Neg(%x) }")
def exponential_as_cube(value: Value) -> Replacement:
    """exp(x) -> x³ (which is wrong, and shows in the answer)"""
    match value:
        case Value(ops.Exp(), (x,)):
            return Cube()(x)
    return None


class Shy:
    """A strategy that is asked for everything and takes nothing."""

    name = "shy"

    def __init__(self) -> None:
        self.asked = 0

    def tactics(self, region: Region, target: Target) -> Refusal:
        self.asked += 1
        return Refusal("it is shy")

    def build(self, region: Region, tactic: Tactic, target: Target) -> Kernel:
        raise AssertionError


def convert(op: Op) -> Plugin:
    def converter(node: Operator) -> Value:
        return op(node.input(0))

    return Plugin("mine", onnx={("my.domain", "Mine"): ((1, converter),)}, ops=(type(op),))


def model(domain: str = "my.domain", operator: str = "Mine") -> bytes:
    nodes = [helper.make_node(operator, ["x"], ["a"], domain=domain, name="mine")]
    nodes.append(helper.make_node("Neg", ["a"], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    graph = helper.make_graph(nodes, "custom", ends[:1], ends[1:])
    return onnx.ModelProto.SerializeToString(helper.make_model(graph, opset_imports=imports, ir_version=10))


X = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def test_a_converter_is_fused_like_tenfold_s_own() -> None:
    engine = tenfold.build(model(), plugins=[convert(Cube())], cache=False)
    assert np.allclose(engine(X), -(X**3), rtol=1e-6)
    assert [region["tier"] for region in engine.report["regions"]] == ["kernel"]


def test_an_operation_of_its_own_runs_on_the_host_and_travels_with_its_plugin(tmp_path: Path) -> None:
    plugin = convert(Reversed())
    engine = tenfold.build(model(), plugins=[plugin], cache=False)
    assert np.array_equal(engine(X), -X[::-1])
    assert engine.report["host_steps"] == 1
    engine.save(tmp_path / "custom.tenfold")
    assert np.array_equal(tenfold.load(tmp_path / "custom.tenfold", plugins=[plugin])(X), -X[::-1])
    with pytest.raises(EngineError, match="Reversed of the plugin 'mine'"):
        tenfold.load(tmp_path / "custom.tenfold")


def test_rules_come_before_all_others() -> None:
    engine = tenfold.build(model("", "Exp"), plugins=[Plugin("wrong", rules=(exponential_as_cube,))], cache=False)
    assert np.allclose(engine(X), -(X**3), rtol=1e-6)


def test_strategies_are_asked_first_and_their_refusals_kept() -> None:
    shy = Shy()
    engine = tenfold.build(model("", "Exp"), plugins=[Plugin("shy", strategies=(shy,))], cache=False)
    assert shy.asked == 1
    assert engine.report["regions"][0]["refused"][0] == ["shy", "it is shy"]


def test_an_engine_is_remembered_by_the_versions_of_its_plugins(tmp_path: Path) -> None:
    first, second = convert(Cube()), Plugin("mine", "1", onnx=convert(ops.Exp()).onnx)
    assert np.allclose(tenfold.build(model(), plugins=[first], cache=tmp_path)(X), -(X**3), rtol=1e-6)
    assert np.allclose(tenfold.build(model(), plugins=[second], cache=tmp_path)(X), -np.exp(X), rtol=1e-6)


def test_without_a_plugin_the_operator_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"my\.domain"):
        tenfold.build(model(), cache=False)


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ([object()], "no plugin"),
        ([Plugin("a"), Plugin("a")], "plugin 'a'"),
        ([Plugin("a", ops=(type("Relu", (Cube,), {}),))], "operation 'Relu'"),
    ],
)
def test_bad_plugins_are_refused(plugins: list[object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        tenfold.build(model(), plugins=plugins, cache=False)


class Careless(Op):
    """Zero, written over its input."""

    def infer(self, x: Type) -> Type:
        return x

    def evaluate(self, x: Array) -> Array:
        x *= 0
        return x


class Empty(Op):
    """An operation that says nothing of its result."""

    def infer(self, x: Type) -> None:
        return None

    def evaluate(self, x: Array) -> Array:
        return x


def by_hand(op: Op) -> tenfold.Graph:
    graph = tenfold.Graph(name="by hand")
    x = graph.input("x", Type(dt.f32, (3,)))
    graph.set_outputs([op(x), ops.Neg()(x)], ["y", "z"])
    return graph


def test_an_operation_cannot_write_into_what_others_read() -> None:
    engine = tenfold.build(by_hand(Careless()), plugins=[Plugin("careless", ops=(Careless,))], cache=False, effort=0)
    x = np.ones(3, np.float32)
    with pytest.raises(ExecutionError, match=r"Careless failed: .*read-only"):
        engine(x)
    assert x.tolist() == [1, 1, 1]


def test_an_operation_of_no_plugin_ends_the_build() -> None:
    with pytest.raises(OptionError, match="Reversed is an operation of no plugin"):
        tenfold.build(by_hand(Reversed()), cache=False, effort=0)
    with pytest.raises(OptionError, match="infer of Empty gives a NoneType"):
        by_hand(Empty())


def test_what_is_no_rule_and_no_operation_is_refused() -> None:
    with pytest.raises(OptionError, match="rules of the plugin"):
        Plugin("a", rules=(lambda value: None,))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="each with infer and evaluate"):
        Plugin("a", ops=(type("Unfinished", (Op,), {}),))


def test_a_converter_for_pytorch_gives_tensors_of_the_module_s_types() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.erf(x) + 1

    def built(made: object) -> object:
        plugin = Plugin("mine", torch={"aten::erf": lambda x: made(x)})  # type: ignore[operator]
        return tenfold.build(Net(), example_inputs=(torch.ones(2),), plugins=[plugin], cache=False, effort=0)

    assert built(ops.Exp())
    for made, problem in ((lambda x: None, "gives a NoneType"), (ops.Cast(dt.f16), r"gives f16\[2\]")):
        with pytest.raises(ModelError, match=f"aten.erf.default: its converter {problem}"):
            built(made)
