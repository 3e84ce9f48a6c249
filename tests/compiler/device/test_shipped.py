"""Choices that are shipped for GPUs still meet the problems that they were found for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import tenfold
from bench.cpu import vision
from bench.gpu import transformers
from tenfold.compiler import choices
from tenfold.compiler.device import tune
from tenfold.compiler.device.binaries import GpuBackend
from tenfold.compiler.items import Item


class _Counted(Exception):
    pass


@pytest.mark.parametrize(("make", "batch"), [(vision.mobilenet_v2, 64), (transformers.bert, 8)])
def test_most_problems_of_a_measured_network_are_known(
    make: Callable[[int], Any], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = list[bool]()

    def count(items: Sequence[Item], tuning: Any) -> str:
        for problem, pieces in tune._contests(items, tuning.target, 1).items():
            known.append(choices.find(problem, {str(tactic) for _, tactic in pieces[0].candidates}) is not None)
        raise _Counted

    monkeypatch.setattr(GpuBackend, "tune", staticmethod(count))
    with pytest.raises(_Counted):
        tenfold.build(make(batch), target="cuda:sm_90", precision="f16", effort=1, cache=False)
    assert sum(known) >= 0.9 * len(known)
