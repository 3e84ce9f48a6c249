from __future__ import annotations

import numpy as np
import pytest

from tenfold.ops.sort import Suppression
from tests.codegen.cpu.anchored import Case, Given
from tests.codegen.cuda.anchored import results
from tests.codegen.cuda.interpreting import TARGET

from tenfold.codegen.cuda import suppress  # isort: skip

TACTIC = suppress.Tactic("suppress")


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("most", [0, 2, 12])
def test_classes_of_images(centred: bool, most: int) -> None:
    rng = np.random.default_rng(most)
    boxes = rng.uniform(0, 4, (2, 12, 4)).astype(np.float32)
    scores = rng.integers(0, 9, (2, 3, 12)).astype(np.float32) / 8
    limits = [np.array(most), np.array(0.3, np.float32), np.array(0.2, np.float32)]
    case = Case(Suppression(12, centred), [Given(boxes), Given(scores, "spaced"), *map(Given, limits)])
    table, total = results(case, case.region, suppress.STRATEGY.build(case.region, TACTIC, TARGET))
    wanted, count = case.op.results((boxes, scores, *limits))
    assert total == count and np.array_equal(table[: int(count)], wanted[: int(count)])


def test_nothing_stands() -> None:
    given = [np.zeros((1, 3, 4), np.float32), np.full((1, 1, 3), np.nan, np.float32)]
    limits = [np.array(3), np.array(0.5, np.float32), np.array(0.0, np.float32)]
    case = Case(Suppression(3), [*map(Given, given), *map(Given, limits)])
    _, total = results(case, case.region, suppress.STRATEGY.build(case.region, TACTIC, TARGET))
    assert total == 0


def test_more_boxes_than_a_block_takes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppress, "_BOXES", 16)
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 40, (1, 50, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.integers(1, 9, (1, 50, 2))], 2).astype(np.float32)
    scores = rng.integers(0, 9, (1, 2, 50)).astype(np.float32) / 8
    limits = [np.array(40), np.array(0.1, np.float32), np.array(0.2, np.float32)]
    case = Case(Suppression(50), [Given(boxes), Given(scores), *map(Given, limits)])
    table, total = results(case, case.region, suppress.STRATEGY.build(case.region, TACTIC, TARGET))
    wanted, count = case.op.results((boxes, scores, *limits))
    assert total == count > 10 and np.array_equal(table[: int(count)], wanted[: int(count)])
