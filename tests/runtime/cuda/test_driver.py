"""The driver by the names that cuda-bindings gives, over functions that stand for NVIDIA's."""

from __future__ import annotations

from typing import Any

import pytest

SIZES = {"MULTIPROCESSOR_COUNT": 132, "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR": 228 << 10}


def test_what_it_asks_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("tenfold.runtime.cuda.driver")

    def size(attribute: Any, device: Any) -> tuple[Any, int]:
        return module.cuda.CUresult.CUDA_SUCCESS, SIZES[attribute.name.removeprefix("CU_DEVICE_ATTRIBUTE_")]

    for name in ("cuInit", "cuCtxSetCurrent", "cuMemPoolSetAttribute"):
        monkeypatch.setattr(module.cuda, name, lambda *given: (module.cuda.CUresult.CUDA_SUCCESS,))
    for name in ("cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuDeviceGetDefaultMemPool"):
        monkeypatch.setattr(module.cuda, name, lambda *given: (module.cuda.CUresult.CUDA_SUCCESS, 1))
    monkeypatch.setattr(module.cuda, "cuDeviceGetAttribute", size)
    driver = module.Driver()
    assert (driver.processors, driver.apart.most) == (132, 76 << 10)
