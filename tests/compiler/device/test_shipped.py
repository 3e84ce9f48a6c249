"""Choices that are shipped for GPUs still meet the problems that they were found for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import tenfold
from bench.cpu import vision
from bench.gpu import transformers
from tenfold.compiler.device import tune
from tenfold.compiler.device.binaries import GpuBackend
from tenfold.compiler.items import Item


class _Counted(Exception):
    pass


@pytest.mark.parametrize(("make", "batch", "effort"), [(vision.mobilenet_v2, 64, 0), (transformers.bert, 8, 1)])
def test_most_problems_of_a_measured_network_are_known(
    make: Callable[[int], Any], batch: int, effort: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = list[bool]()

    def count(items: Sequence[Item], tuning: Any) -> str:
        tune.tune_device(items, tuning)
        for pieces in tune._contests(items, tuning.target, 1).values():
            known.extend(piece.entry is not None and piece.entry.shipped for piece in pieces)
        raise _Counted

    monkeypatch.setattr(GpuBackend, "tune", staticmethod(count))
    with pytest.raises(_Counted):
        tenfold.build(make(batch), target="cuda:sm_90", precision="f16", effort=effort, cache=False)
    assert sum(known) >= 0.9 * len(known)
