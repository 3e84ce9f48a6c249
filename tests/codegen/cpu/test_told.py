"""What convolutions of one channel a group tell of their lines, and sums of lines that nobody tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.reference
import pytest

import tenfold
from bench.cpu.sketch import Sketch
from tenfold.codegen.cpu import told
from tenfold.codegen.cpu.conv import depthwise
from tenfold.codegen.cpu.strategies import STRATEGIES
from tenfold.codegen.region import Body, Instruction
from tenfold.codegen.strategy import Refusal
from tenfold.compiler.tune import Chosen, choose
from tenfold.ir import dtype as dt
from tenfold.ops.activation import Silu
from tenfold.ops.arithmetic import Add
from tenfold.ops.conv import Conv
from tenfold.ops.moments import LineSums
from tenfold.target import Target
from tests.codegen.cpu.anchored import Case, Given, check, operand, random

SILU = Body((dt.f32,) * 2, (Instruction(Add(), (0, 1), dt.f32), Instruction(Silu(), (2,), dt.f32)), (3,))


def case(channels: int, size: tuple[int, int], taps: int, stride: int, heavy: bool = False, images: int = 1) -> Case:
    """A depthwise convolution that tells the sums of its lines; behind it a residual and Silu if `heavy`."""
    half = taps // 2
    conv = Conv((stride, stride), (1, 1), (half, half), (half, half), channels)
    x, w = random(dt.f32, images, channels, *size), random(dt.f32, channels, 1, taps, taps, seed=1)
    given = [Given(x, "last"), Given(w, constant=True)]
    shape = np.asarray(conv.evaluate(x, w)).shape
    extra = [Given(random(dt.f32, *shape, seed=3), "last")] if heavy else []
    found = Case(conv, given, ["last"], body=SILU if heavy else None, extra=extra)
    sums = operand(dt.f32, (shape[0], shape[2], shape[1]), "dense")
    found.region = replace(found.region, sums=sums)
    return found


@pytest.mark.parametrize("heavy", [False, True], ids=["plain", "silu"])
@pytest.mark.parametrize(
    ("channels", "size", "taps", "stride"),
    [(40, (7, 9), 3, 1), (33, (9, 9), 5, 2), (37, (4, 41), 3, 2), (20, (7, 7), 5, 1), (5, (3, 45), 5, 1)],
)
def test_as_defined(channels: int, size: tuple[int, int], taps: int, stride: int, heavy: bool) -> None:
    one = case(channels, size, taps, stride, heavy, images=2)
    (image,) = one.op.results(tuple(given.array for given in one.inputs))
    if heavy:
        (image,) = Silu().results((image + one.extra[0].array,))
    check(depthwise.STRATEGY, one, [image, LineSums().evaluate(image)], tolerance=5e-6)


@pytest.mark.parametrize("layout", ["last", "dense", "spaced"])
def test_alone(layout: str) -> None:
    check(told.STRATEGY, Case(LineSums(), [Given(random(dt.f32, 2, 18, 5, 23), layout)]), tolerance=5e-6)


def test_only_who_tells_is_asked() -> None:
    chosen = choose(case(40, (7, 9), 3, 1).region, STRATEGIES, Target("cpu", "x86-64-v4"))
    assert isinstance(chosen, Chosen)
    assert {strategy.name for strategy, _ in chosen.candidates} == {"conv.depthwise"}
    assert "told" in " ".join(reason for _, reason in chosen.refused)


def test_other_types_are_refused() -> None:
    region = Case(LineSums(), [Given(random(dt.f16, 2, 18, 5, 23))]).region
    assert isinstance(told.STRATEGY.tactics(region, Target("cpu", "x86-64-v4")), Refusal)


@pytest.mark.parametrize("groups", [8, 1], ids=["told", "of lines"])
@pytest.mark.parametrize("between", ["Mul", "Tanh"], ids=["gated", "and read otherwise"])
@pytest.mark.parametrize("expanded", [False, True], ids=["as given", "channels last"])
def test_in_networks(groups: int, between: str, expanded: bool) -> None:
    net = Sketch()
    x = net.input("image", (1, 8, 24, 20))
    y = net.conv(x, (8, 8), 1) if expanded else x
    y = net("Relu", net.conv(y, (8, 8), 3, groups=groups))
    other = net(between, y) if between == "Tanh" else y
    gate = net("Sigmoid", net.conv(net("GlobalAveragePool", y), (8, 8)))
    net.output(net.conv(net("Mul", other, gate), (8, 16)), (1, 16, 24, 20))
    given = {"image": random(dt.f32, 1, 8, 24, 20)}
    model = onnx.load_from_string(net.model())
    reference = onnx.reference.ReferenceEvaluator(model).run(None, given)[0]
    engine = tenfold.build(model, effort=0, cache=False)
    np.testing.assert_allclose(next(iter(engine.run(given).values())), reference, rtol=0, atol=2e-5)
    with engine.context() as context:
        steps = context.profile(given).steps
    assert not any(step.number < 0 for step in steps)
    if groups > 1 and between == "Mul":
        assert sum(step.label.kind.startswith("Row") for step in steps) == 1
