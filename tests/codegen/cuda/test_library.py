"""Convolutions that cuDNN may take: which ones, what is asked of it, what stands in its place."""

from __future__ import annotations

import ctypes
from dataclasses import asdict, replace
from typing import Any

import pytest

from tenfold.codegen.region import Anchored, Body, Instruction, Region
from tenfold.codegen.strategy import Refusal
from tenfold.errors import ExecutionError
from tenfold.ir import dtype as dt
from tenfold.ops.activation import Gelu, Relu
from tenfold.ops.arithmetic import Add
from tenfold.runtime.cuda.cudnn import Cudnn
from tenfold.runtime.cuda.product import CONVOLVER, Convolution
from tenfold.runtime.records import read
from tests.codegen.cpu import cases
from tests.codegen.cuda.interpreting import TARGET

from tenfold.codegen.cuda import contraction  # isort: skip
from tenfold.codegen.cuda.conv.library import STRATEGY  # isort: skip
from tests.codegen.cuda import compiling  # isort: skip
from tests.codegen.cuda.table import image  # isort: skip


def residual(region: Region) -> Region:
    """The convolution with images added before its ReLU."""
    assert isinstance(region, Anchored)
    beside = replace(cases.tensor(dt.f16, region.domain), strides=region.outputs[0].strides)
    f16, add = dt.f16, Add()
    code = (Instruction(add, (0, 1), f16), Instruction(add, (2, 3), f16), Instruction(Relu(), (4,), f16))
    return replace(region, body=Body((f16,) * 3, code, (5,)), extra=(region.extra[0], beside))


def asked(region: Region) -> Convolution:
    (tactic,) = contraction.STRATEGY.tactics(region, TARGET)[-1:]
    assert tactic.strategy == CONVOLVER
    product = contraction.STRATEGY.build(region, tactic, TARGET).launches[0].program.product  # type: ignore[union-attr]
    assert isinstance(product, Convolution)
    return product


def test_what_is_asked() -> None:
    one = asked(image(64, (28, 20), 128, 3, 2, 1))
    assert (one.channels, one.filters, one.size, one.out) == (64, 128, (28, 20), (14, 10))
    assert (one.taps, one.steps, one.pads, one.dilations) == ((3, 3), (2, 2), (1, 1), (1, 1))
    assert (one.bias, one.residual, one.relu) == (True, False, True)
    assert asked(residual(image(64, (9, 7), 128, 1, 1, 0))).residual
    assert read(Convolution, asdict(one), "functions") == one


def test_ours_in_its_place() -> None:
    region = image(64, (9, 7), 64, 3, 1, 1)
    found = contraction.STRATEGY.tactics(region, TARGET)
    assert not isinstance(found, Refusal)
    called, *ours = contraction.STRATEGY.build(region, found[-1], TARGET).launches  # type: ignore[attr-defined]
    guesses = [one for one in found if one.strategy == "implicit"]
    guessed = contraction.STRATEGY.build(region, guesses[0], TARGET)
    assert [one.program for one in ours] == [one.program for one in guessed.launches]  # type: ignore[attr-defined]
    assert called.program.instead == len(ours) and len(called.arguments) == 6


def gelu(region: Region) -> Region:
    assert isinstance(region, Anchored)
    code = (*region.body.code[:-1], Instruction(Gelu(), (2,), dt.f16))
    return replace(region, body=Body(region.body.inputs, code, (3,)))


def first(region: Region) -> Region:
    assert isinstance(region, Anchored)
    x, w = region.inputs
    return replace(region, inputs=(cases.tensor(dt.f16, tuple(x.shape)), w))


@pytest.mark.parametrize(
    "region",
    [
        image(3, (16, 16), 64, 7, 2, 3),
        gelu(image(64, (9, 7), 64, 3, 1, 1)),
        first(image(64, (9, 7), 64, 3, 1, 1)),
        image(64, (9, 7), 64, 3, 1, 1, beside=True),
        image(64, (9, 7), 64, 3, 1, 1, dtype=dt.f32),
        compiling.squeezed(),
        compiling.product(64, 64, 64),
    ],
)
def test_what_it_does_not_take(region: Region) -> None:
    assert isinstance(STRATEGY.tactics(region, TARGET), Refusal)


class Library:
    """Notes what is called; every workspace takes `room` bytes."""

    def __init__(self, room: int = 0) -> None:
        self.called: list[str] = []
        self.room = room

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.called.append(name)
            if name.endswith("WorkspaceSize"):
                ctypes.cast(arguments[-1], ctypes.POINTER(ctypes.c_size_t))[0] = self.room
            return 0

        return call


def test_calls_of_the_library() -> None:
    library = Library()
    made, one = Cudnn(library), asked(image(64, (9, 7), 64, 3, 1, 1))
    made.run(one, range(64, 70), 7)
    assert library.called[-1] == "cudnnConvolutionBiasActivationForward"
    described = len(library.called)
    made.run(one, range(64, 70), 7)
    assert library.called[described:] == ["cudnnSetStream", "cudnnConvolutionBiasActivationForward"]
    made.run(replace(one, bias=False, relu=False), range(64, 70), 7)
    assert library.called[-1] == "cudnnConvolutionForward"


def test_too_much_workspace_is_refused() -> None:
    with pytest.raises(ExecutionError, match="bytes of workspace"):
        Cudnn(Library(1 << 40)).run(asked(image(64, (9, 7), 64, 3, 1, 1)), range(64, 70), 7)
