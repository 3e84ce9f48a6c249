from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tenfold.codegen.region import Anchored, Body, Chain, Instruction, Phase, Row
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ops.arithmetic import Sub
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv
from tenfold.target import Target
from tests.codegen.cpu.memory import Guarded
from tests.codegen.cpu.reference import evaluate, extent, operands
from tests.codegen.cuda.interpreting import TARGET, run

from tenfold.codegen.cuda.conv import boxes, kept, lines, pooled  # isort: skip
from tests.codegen.cuda.table import image, pooled_image  # isort: skip

FIRST = {
    "even": image(3, (14, 18), 24, 7, 2, 3, count=1),
    "odd": image(3, (9, 11), 16, 5, 2, 2),
    "steps of one": image(4, (6, 5), 40, 3, 1, 1, count=1),
    "patches": image(1, (16, 12), 32, 4, 4, 0),
}
POOLED = {
    "three of three": pooled_image(3, (14, 18), 24, 7, 2, 3, count=1),
    "odd": pooled_image(3, (13, 11), 16, 5, 2, 2),
    "cast": pooled_image(3, (9, 11), 16, 7, 2, 3, count=1, cast=True),
    "without padding": pooled_image(2, (17, 15), 16, 3, 2, 0, before=0, count=3),
    "upwards": pooled_image(1, (16, 12), 32, 4, 4, 0, before=0, upwards=True),
    "two of two": pooled_image(1, (10, 8), 16, 3, 1, 1, most=2, before=0, layers=False),
}
MOMENTS = {"images in a tile": image(64, (4, 4), 72, 3, 1, 1, beside=True, count=3),
           "an image": image(64, (8, 16), 32, 3, 1, 1, beside=True)}  # fmt: skip


def held(strategy: object, region: object, which: int = 0) -> None:
    """A tactic gives what the operation's definition gives, between guards."""
    found = strategy.tactics(region, TARGET)  # type: ignore[attr-defined]
    assert not isinstance(found, Refusal), found.reason
    random = np.random.default_rng(7)
    reads, writes = operands(region)  # type: ignore[arg-type]
    memory = {}
    for one in (*reads, *writes):
        if isinstance(one.value.op, Constant):
            memory[one.value] = one.value.op.tensor.array.reshape(-1)
        elif one.value not in memory:
            size = max(extent(other, {}) for other in (*reads, *writes) if other.value is one.value)
            memory[one.value] = random.uniform(-1, 1, size).astype(one.dtype.numpy)
    buffers = {value: Guarded(array.nbytes + 15 & -16) for value, array in memory.items() if value.op is None
               or not isinstance(value.op, Constant)}  # fmt: skip
    for value, buffer in buffers.items():
        buffer.bytes()[: memory[value].nbytes] = memory[value].view(np.uint8)
    kernel = strategy.build(region, found[which % len(found)], TARGET)  # type: ignore[attr-defined]
    run(kernel, buffers, {one.value: one.dtype for one in (*reads, *writes)})
    evaluate(region, memory, {})  # type: ignore[arg-type]
    for result in writes:
        wanted = memory[result.value].astype(np.float64)
        got = buffers[result.value].bytes()[: memory[result.value].nbytes].view(result.dtype.numpy).astype(np.float64)
        assert np.abs(got - wanted).max() <= 2e-3 * np.abs(wanted).max()
    for buffer in buffers.values():
        buffer.close()


@pytest.mark.parametrize("name", FIRST)
def test_first_layers(name: str) -> None:
    held(lines.STRATEGY, FIRST[name])


@pytest.mark.parametrize("name", POOLED)
def test_first_layers_whose_greatest_results_are_kept(name: str) -> None:
    held(pooled.STRATEGY, POOLED[name])


@pytest.mark.parametrize("name", MOMENTS)
def test_numbers_of_each_image_beside_boxes(name: str) -> None:
    held(boxes.STRATEGY, MOMENTS[name])


@pytest.mark.parametrize("which", [0, 2])
def test_weights_that_are_kept(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LOOKS_FURTHER", True)
    held(kept.STRATEGY, image(64, (9, 7), 24, 3, 1, 1, count=1), which)


def test_what_is_refused_of_greatest_results() -> None:
    plain = pooled_image(3, (14, 18), 24, 7, 2, 3)
    assert isinstance(plain, Chain)
    conv, *fills, pool = plain.parts
    assert isinstance(conv, Anchored) and isinstance(pool, Row)
    falling = replace(conv, body=Body(conv.body.inputs, (Instruction(Sub(), (1, 0), dt.f16),), (2,)))
    apart = replace(conv, anchor=Conv((2, 2), (2, 1), (3, 3), (3, 3)))
    least = replace(pool, phases=(Phase(pool.phases[0].body, "min"),))
    cases = {
        "steps do not divide": replace(plain, parts=(apart, *fills, pool)),
        "many channels": pooled_image(16, (14, 18), 24, 3, 2, 1),
        "more terms": pooled_image(8, (30, 30), 16, 7, 2, 3),
        "give less for more": replace(plain, parts=(falling, *fills, pool)),
        "more than the greatest": replace(plain, parts=(conv, *fills, least)),
        "written elsewhere": replace(plain, parts=(conv, pool)),
        "not the least": replace(plain, parts=(conv, conv, pool)),
        "windows of other than two or three": pooled_image(3, (30, 30), 16, 7, 2, 3, most=4),
    }
    for reason, region in cases.items():
        found = pooled.STRATEGY.tactics(region, TARGET)
        assert isinstance(found, Refusal) and reason in found.reason, (reason, found)
    other = pooled.STRATEGY.tactics(plain, Target("cuda", "sm_100"))
    assert isinstance(other, Refusal) and "sm_100" in other.reason


def test_what_lines_refuse() -> None:
    for region in (image(16, (8, 8), 32, 3, 1, 1), image(3, (8, 8), 160, 3, 1, 1)):
        assert isinstance(lines.STRATEGY.tactics(region, TARGET), Refusal)
