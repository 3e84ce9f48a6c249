"""What an engine's address in the cache depends on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from tenfold.compiler.cache import EngineCache
from tenfold.options import Options
from tenfold.target import Target


def model(location: str) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    weight = TensorProto(name="w", dims=[2], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return bytes(helper.make_model(graph).SerializeToString())


def key(folder: Path, given: Any, **opening: Any) -> str:
    cache = EngineCache(folder / "cache")
    found = cache.key(given, Options(Target.parse("cpu"), "model", 1, None, None), opening)
    assert found is not None
    return found


@pytest.mark.parametrize("location", ["weights.bin", "more/" + "w" * 150 + ".bin"])
def test_files_that_the_model_names_count(location: str, tmp_path: Path) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / location
    path.write_bytes(model(location))
    data.parent.mkdir(exist_ok=True)
    data.write_bytes(bytes(8))
    first = key(tmp_path, path)
    (tmp_path / "model.txt").write_text("beside the model, and not named by it")
    assert key(tmp_path, path) == first
    data.write_bytes(bytes(9))
    assert key(tmp_path, path) != first
    root = key(tmp_path, path.read_bytes(), data_root=tmp_path)
    os.utime(data, ns=(1, 1))
    assert key(tmp_path, path.read_bytes(), data_root=tmp_path) != root


def test_the_model_and_the_options_count(tmp_path: Path) -> None:
    data = model("w")
    assert key(tmp_path, data) == key(tmp_path, bytearray(data)) != key(tmp_path, model("v"))
    assert key(tmp_path, data) != key(tmp_path, data, dims={"n": 3})
    for damaged in (
        b"\n\x08location\x12",
        b"\n\x08location\x12\xff\xff\xff\xff\xff\xff",
        b"\n\x08location\x12\x03a\0b",
    ):
        assert key(tmp_path, damaged, data_root=tmp_path)
