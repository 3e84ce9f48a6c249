"""Products and convolutions in f32 by tiles that tensor cores round: what they add up, and what is turned ahead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenfold.codegen.region import Anchored
from tenfold.codegen.strategy import Refusal, Tactic, Workspace
from tests.codegen.cpu.cases import Case
from tests.codegen.cuda import interpreting
from tests.codegen.cuda.interpreting import compare

from tenfold.codegen.cuda import matrices  # isort: skip
from tenfold.codegen.cuda.conv import boxes, kept, spanned, turning, wave  # isort: skip
from tenfold.codegen.cuda.launch import CudaKernel, Descriptor  # isort: skip
from tenfold.codegen.cuda.program import Program, words  # isort: skip
from tests.codegen.cuda import compiling, recast, rounded, test_lines  # isort: skip
from tests.codegen.cuda.table import image  # isort: skip

_CASE = Case("rounded", lambda: compiling.product(8, 8, 8), low=-0.5, high=0.5, tolerance=4e-6)
_SMALL = {
    "boxes": {"m": 64, "n": 64, "slices": 2, "teams": 1, "warps": 4, "slots": 2},
    "wave": {"m": 64, "n": 96, "slots": 4, "warps": 4},
}
_STRATEGIES = {"boxes": boxes.STRATEGY, "wave": wave.STRATEGY}


def built(region: Anchored, name: str) -> CudaKernel:
    found = _STRATEGIES[name].build(region, Tactic(name, tuple(_SMALL[name].items())), rounded.TARGET)
    assert isinstance(found, CudaKernel)
    return found


def tiles(kernel: CudaKernel) -> dict[str, list[bool]]:
    """Whether copies round, of each descriptor of the last launch."""
    program = kernel.launches[-1].program
    assert isinstance(program, Program)
    return {
        name: [one.rounded for one in words(given) if one.type.startswith("tensordesc")]
        for name, given in program.parameters
    }


@pytest.mark.parametrize("name", _STRATEGIES)
@pytest.mark.parametrize("turned", [False, True])
def test_matrices_by_their_rows_and_by_their_columns(name: str, turned: bool) -> None:
    region = rounded.product(70, 100, 68, turned)
    kernel = built(region, name)
    assert len(kernel.launches) == (1 if turned else 2)
    last = [one.address for one in kernel.launches[-1].arguments if isinstance(one, Descriptor)]
    assert any(isinstance(one, Workspace) for one in last) != turned
    compare(region, kernel, _CASE)


@pytest.mark.parametrize("name", _STRATEGIES)
def test_operands_are_rounded_and_nothing_else(name: str) -> None:
    found = tiles(built(rounded.beside(197, 256, 512), name))
    assert all(found["x"]) and all(found["w"]) and found["x"] and found["w"]
    assert found["output"] and found["beside"] and not any((*found["output"], *found["beside"]))
    region = rounded.constant(compiling.product(197, 256, 512))
    assert not any(one for tile in tiles(built(region, name)).values() for one in tile)


@pytest.mark.parametrize("which", [0, -1])
@pytest.mark.parametrize("size", [(48, (9, 7), 40, 3, 1, 1), (32, (6, 10), 24, 3, 2, 1), (36, (5, 7), 64, 1, 2, 0)])
def test_windows(
    size: tuple[int, tuple[int, int], int, int, int, int], which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_lines, "TARGET", rounded.TARGET)
    test_lines.held(boxes.STRATEGY, recast.widened(image(*size)), which)


def test_few_channels_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_lines, "TARGET", rounded.TARGET)
    test_lines.held(spanned.STRATEGY, recast.widened(image(3, (15, 13), 32, 3, 2, 1)))


def test_rounding_is_asked_for_and_fits_a_line() -> None:
    region = recast.widened(image(64, (8, 8), 64, 3, 1, 1))
    for strategy in (boxes.STRATEGY, wave.STRATEGY, kept.STRATEGY):
        assert isinstance(strategy.tactics(region, interpreting.TARGET), Refusal)
    assert isinstance(kept.STRATEGY.tactics(region, rounded.TARGET), Refusal)
    found = boxes.STRATEGY.tactics(region, rounded.TARGET)
    assert not isinstance(found, Refusal) and found


def test_a_matrix_that_is_turned_costs_a_launch() -> None:
    rows, columns = (rounded.product(1024, 1024, 1024, turned) for turned in (False, True))
    tactic = Tactic("boxes", tuple(_SMALL["boxes"].items()))
    guesses = [boxes.STRATEGY.guess(one, tactic, rounded.TARGET) for one in (rows, columns)]
    assert guesses[0] > guesses[1] + turning._START


def test_part_of_a_constant_is_turned_before_it_is_read() -> None:
    region = rounded.constant(rounded.product(64, 64, 128))
    b = region.inputs[1]
    part = replace(region, domain=(64, 32), inputs=(region.inputs[0], replace(b, shape=(128, 32))))
    kernel = built(replace(part, outputs=rounded.product(64, 32, 128).outputs), "boxes")
    program = kernel.launches[-1].program
    assert len(kernel.launches) == 2 and isinstance(program, Program) and dict(program.parameters)["AHEAD"] == 0


def test_a_matrix_of_one_column_lies_as_it_is() -> None:
    region = rounded.constant(rounded.product(64, 1, 64))
    assert matrices.laid(region.inputs[1]).strides == region.inputs[1].strides
