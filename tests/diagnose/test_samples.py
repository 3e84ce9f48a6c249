"""Inputs that are made up, read and written; descriptions of engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

import tenfold
from bench.cpu.sketch import Sketch
from tenfold.diagnose import bench, report, samples, tables
from tenfold.ir import dtype as dt
from tenfold.runtime.engine import Engine
from tenfold.runtime.plan import Spec
from tests.face import models


def copying(**inputs: tuple[int, list[Any]]) -> Engine:
    """An engine whose inputs have these element types and sizes."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs]
    ends = [
        [helper.make_tensor_value_info(f"{name}{suffix}", *about) for name, about in inputs.items()]
        for suffix in ("", "_out")
    ]
    return tenfold.build(models.model(nodes, *ends, {}), dims={"m": (32, 640, 32), "k": (2, 5)}, cache=False)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return copying(
        a=(TensorProto.FLOAT, ["n", 3, "h", "m"]),
        b=(TensorProto.INT64, ["h", "k"]),
        c=(TensorProto.BOOL, [5]),
    )


def test_open_sizes_are_as_near_as_the_model_allows(engine: Engine) -> None:
    arrays = samples.made_up(engine, 0, {}, {})
    assert {name: array.shape for name, array in arrays.items()} == {"a": (1, 3, 64, 64), "b": (64, 5), "c": (5,)}
    assert arrays["a"].dtype == np.float32 and set(np.unique(arrays["b"])) <= {0, 1} and arrays["c"].dtype == np.bool_
    engine.run(arrays)


def test_sizes_that_are_said(engine: Engine) -> None:
    arrays = samples.made_up(engine, 0, {"a": (2, 3, 7, "m")}, {"m": 96})
    assert arrays["a"].shape == (2, 3, 7, 96) and arrays["b"].shape == (7, 5)
    assert samples.made_up(engine, 0, {"a": (2, 3, 7, 9)}, {})["a"].shape == (2, 3, 7, 9)


def test_sizes_move_to_the_nearest_that_fit() -> None:
    net = Sketch()
    sound = net("Conv", net.input("sound", ("n", 1, "t")), net.drawn(4, 1, 100))
    state = net("Squeeze", net.input("state", (1, "m", 4)), net.constant([0]))
    net.output(net("Add", net("Squeeze", net("GlobalMaxPool", sound), net.constant([2])), state), ("n", 4))
    built = tenfold.build(net.model(), effort=0, cache=False)
    arrays = samples.made_up(built, 0, {}, {"n": 3, "m": 3})
    assert {name: array.shape for name, array in arrays.items()} == {"sound": (3, 1, 100), "state": (1, 3, 4)}
    built.run(arrays)


def test_a_seed_decides(engine: Engine) -> None:
    one, two, other = (samples.made_up(engine, seed, {}, {}) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one["a"], two["a"])
    assert not np.array_equal(one["a"], other["a"])


def test_arrays_survive_a_file(tmp_path: Path) -> None:
    arrays = {
        "file": np.arange(6, dtype=np.int8).reshape(2, 3),
        "a/b": np.array(1.5, np.float32),
        "wide": np.arange(4).astype(ml_dtypes.bfloat16),
    }
    samples.write(tmp_path / "arrays.npz", arrays)
    specs = [Spec("wide", dt.bf16, (4,))]
    found = samples.read(tmp_path / "arrays.npz", specs)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_arrays_with_code_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=np.array([{}], object))
    with pytest.raises(tenfold.InputError, match=r"bad\.npz"):
        samples.read(tmp_path / "bad.npz", [])


def test_descriptions_add_up() -> None:
    engine = tenfold.build(models.perceptron(), target="cpu:x86-64-v3,cpu:aarch64", cache=False)
    for target in ("cpu:x86-64-v3", "cpu:aarch64"):
        about = report.describe(engine.file, target)
        assert about["target"] == target and set(about["targets"]) == {"cpu:x86-64-v3", "cpu:aarch64"}
        assert sum(about["sections"].values()) <= about["bytes"]
        numbers = {number for found in about["source_map"].values() for number in found}
        assert numbers == set(range(len(about["regions"])))
    with pytest.raises(tenfold.TargetError):
        report.describe(engine.file, "cpu:x86-64-v4")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_bytes_in_words(count: int, said: str) -> None:
    assert tables.in_bytes(count) == said


def test_percentiles() -> None:
    found = bench.summary([0.001 * n for n in range(1, 12)])
    assert found == pytest.approx({"median_ms": 6, "p10_ms": 2, "p90_ms": 10})
