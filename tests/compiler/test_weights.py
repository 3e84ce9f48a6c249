"""Weights are read late and packed once, straight into the engine's image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tenfold.compiler.weights import WeightStore
from tenfold.ir.tensor import Tensor
from tenfold.ops.movement import Reshape, Transpose
from tenfold.runtime.format import File, pack


def test_constants_of_a_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    np.arange(1 << 18, dtype=np.float32).tofile(path)

    def load() -> np.memmap:
        return np.memmap(path, np.float32, "r", 4096, (1 << 16,))

    store = WeightStore()
    mapped = Tensor(load, dtype=Tensor(np.zeros(1, np.float32)).dtype, shape=(256, 256), source="w")
    turned = store.stored(mapped, (Transpose((1, 0)), Reshape((128, 512))))
    plain = store.stored(mapped, ())
    small = store.stored(Tensor(np.arange(3)), ())
    assert store.nbytes == 2 * (1 << 18) + 64 and (turned, small) == (0, 1 << 19)
    section = File(pack({}, {"empty": b"", "weights": store, "text": b"abc"}), "weights").section("weights")
    expected = np.arange(1024, 1024 + (1 << 16), dtype=np.float32).reshape(256, 256)
    np.testing.assert_array_equal(section[:plain].view(np.float32).reshape(256, 256), expected.T)
    np.testing.assert_array_equal(section[plain:small].view(np.float32).reshape(256, 256), expected)
    np.testing.assert_array_equal(section[small : small + 24].view(np.int64), np.arange(3))
