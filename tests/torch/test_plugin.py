"""Operators that a user has registered with PyTorch, mapped by a plugin."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

import tenfold
from tenfold import ops
from tenfold.errors import UnsupportedError
from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.plugin import Plugin
from tenfold.torch import CAPTURES
from tests.importers.torch.running import expected

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
FAST = {"cache": False, "effort": 0}


@torch.library.custom_op("tenfold_tests::swish", mutates_args=())
def swish(x: torch.Tensor, slope: float = 1.0) -> torch.Tensor:
    return x * torch.sigmoid(slope * x)


@swish.register_fake
def _(x: torch.Tensor, slope: float = 1.0) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("tenfold_tests::middle", mutates_args=())
def middle(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.median(-1).values, x.mean(-1)


@middle.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.new_empty(x.shape[:-1]), x.new_empty(x.shape[:-1])


@torch.library.custom_op("tenfold_tests::hidden", mutates_args=())
def hidden(x: torch.Tensor) -> torch.Tensor:
    return x + 1


class Median(Op):
    """The median along the last axis."""

    def infer(self, x: Type) -> Type:
        return Type(x.dtype, x.shape[:-1])

    def evaluate(self, x: Array) -> Array:
        return np.sort(x, axis=-1)[..., (x.shape[-1] - 1) // 2]


def as_swish(x: Value, slope: float = 1.0) -> Value:
    """x * sigmoid(slope x)"""
    scaled = ops.Mul()(x, ops.scalar(slope, x.type.dtype)())
    return ops.Mul()(x, ops.Sigmoid()(scaled))


def as_middle(x: Value) -> tuple[Value, Value]:
    """The median and the mean."""
    return Median()(x), ops.Reduce("mean", (x.type.rank - 1,), False)(x)


def as_erf(x: Value) -> Value:
    """A wrong answer, so that it shows who answers."""
    return ops.Neg()(x)


PLUGIN = Plugin(
    "tests", torch={"tenfold_tests::swish": as_swish, "tenfold_tests::middle.default": as_middle}, ops=(Median,)
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        y = swish(self.inner(x), 0.5)
        return y, middle(y)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch._dynamo.reset()
    CAPTURES.clear()


def test_a_plugin_says_a_custom_operator() -> None:
    module, x = Net().eval(), torch.randn(3, 5)
    engine = tenfold.build(module, example_inputs=(x,), plugins=[PLUGIN], shapes={"x": ("n", 5)}, **FAST)
    for rows in (3, 6):
        x = torch.randn(rows, 5)
        torch.testing.assert_close(engine(x), expected(module, (x,)))
    assert engine.report["host_steps"] == 1  # the median, which is no operation of the catalogue


def test_programs_take_plugins_too() -> None:
    x = torch.randn(3, 5)
    module = Net().eval()
    program = torch.export.export(module, (x,))
    torch.testing.assert_close(tenfold.build(program, plugins=[PLUGIN], **FAST)(x), expected(module, (x,)))


def test_without_the_plugin_the_operator_and_its_line_are_named() -> None:
    with pytest.raises(
        UnsupportedError, match=r"swish.*test_plugin.py:\d+: y = swish\(self.inner\(x\), 0.5\)"
    ) as caught:
        tenfold.build(Net().eval(), example_inputs=(torch.randn(3, 5),), **FAST)
    assert "plugin" in str(caught.value)


def test_an_operator_without_shapes_gets_a_remedy() -> None:
    class Blind(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return hidden(x)

    with pytest.raises(UnsupportedError, match=r"test_plugin.py:\d+: return hidden\(x\)") as caught:
        tenfold.build(Blind(), example_inputs=(torch.randn(3),), **FAST)
    assert "register_fake" in str(caught.value.remedy)


def test_a_plugins_converter_comes_before_our_own() -> None:
    plugin = Plugin("erf", torch={"aten::erf": as_erf})
    module = nn.GELU()

    class Erf(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.erf(x)

    x = torch.randn(4)
    assert torch.equal(tenfold.build(Erf(), example_inputs=(x,), plugins=[plugin], **FAST)(x), -x)
    assert not torch.equal(tenfold.build(module, example_inputs=(x,), plugins=[plugin], **FAST)(x), -x)


def test_both_ways_of_compiling_take_plugins(caplog: pytest.LogCaptureFixture) -> None:
    module, x = Net().eval(), torch.randn(3, 5)
    with torch.no_grad():
        torch.testing.assert_close(tenfold.torch.compile(module, plugins=[PLUGIN], **FAST)(x), module(x))
        fast = torch.compile(module, backend="tenfold", options={**FAST, "plugins": [PLUGIN]})
        torch.testing.assert_close(fast(x), module(x))
        assert [len(one.engines) for one in CAPTURES] == [1]
        torch._dynamo.reset()
        with caplog.at_level(logging.WARNING, "tenfold"):
            torch.testing.assert_close(torch.compile(module, backend="tenfold", options=FAST)(x), module(x))
    assert "tenfold_tests" in caplog.text and not CAPTURES[-1].engines
