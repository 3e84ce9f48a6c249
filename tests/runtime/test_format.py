"""Engine files: whole or refused, replaced at once or not at all."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import EngineError, LimitError, TargetError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.runtime import format
from tenfold.runtime.format import CHUNK, HEADER, chunk_sums


def engine(target: str = "cpu") -> tenfold.Engine:
    """y = relu(x w), with weights of more than one MiB."""
    graph = tenfold.Graph(name="small")
    x = graph.input("x", Type(dt.f32, (symbol("n", 1), 600)))
    weights = np.random.default_rng(0).standard_normal((600, 500)).astype(np.float32)
    graph.set_outputs([ops.Relu()(ops.MatMul()(x, ops.Constant(Tensor(weights))()))], ["y"])
    return tenfold.build(graph, target=target, cache=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("engine") / "small.tenfold"
    engine().save(path)
    return path.read_bytes()


def loaded(data: bytes, folder: Path, **options: Any) -> tenfold.Engine:
    """The engine in a file of these bytes."""
    path = folder / "changed.tenfold"
    path.write_bytes(data)
    return tenfold.load(path, **options)


def test_round_trip(image: bytes, tmp_path: Path) -> None:
    x = np.ones((3, 600), np.float32)
    there = loaded(image, tmp_path)
    np.testing.assert_array_equal(there(x), engine()(x))
    there.save(tmp_path / "again.tenfold")
    assert (tmp_path / "again.tenfold").read_bytes() == image


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.3, 0.6, 0.999])
def test_a_file_cut_short_is_refused_by_name(image: bytes, share: float, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"changed\.tenfold"):
        loaded(image[: int(share * len(image))], tmp_path)


def test_a_changed_byte_of_any_section_is_found(image: bytes, tmp_path: Path) -> None:
    file = format.File(np.frombuffer(image, np.uint8), "whole")
    for name in (name for name in file.manifest["sections"] if file.section(name).size):
        data = bytearray(image)
        data[file.offset(name) + file.section(name).size // 2] ^= 0x40
        with pytest.raises(EngineError, match=f"section {name!r} is damaged"):
            loaded(bytes(data), tmp_path)
    data = bytearray(image)
    data[HEADER.size + 5] ^= 1
    with pytest.raises(EngineError, match="manifest is damaged"):
        loaded(bytes(data), tmp_path)


def test_another_major_version_is_refused_and_a_newer_minor_one_read(image: bytes, tmp_path: Path) -> None:
    data = bytearray(image)
    struct.pack_into("<HH", data, 8, format.MAJOR + 1, 0)
    with pytest.raises(EngineError, match=f"format version {format.MAJOR + 1}.0.*reads {format.MAJOR}.x"):
        loaded(bytes(data), tmp_path)
    struct.pack_into("<HH", data, 8, format.MAJOR, format.MINOR + 7)
    loaded(bytes(data), tmp_path)


def test_code_for_other_workers_runs_alone(image: bytes, tmp_path: Path) -> None:
    file = format.File(np.frombuffer(image, np.uint8), "whole")
    manifest = {name: value for name, value in file.manifest.items() if name != "sections"}
    for target in manifest["targets"].values():
        target["abi"] -= 1
    old = bytes(format.pack(manifest, {name: file.section(name) for name in file.manifest["sections"]}))
    x = np.ones((3, 600), np.float32)
    np.testing.assert_array_equal(loaded(old, tmp_path, threads=1)(x), engine()(x))
    with pytest.raises(EngineError, match="other worker threads"):
        loaded(old, tmp_path, threads=2)(x)


def test_what_is_no_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not a Tenfold engine"):
        loaded(b"ONNX" * 100, tmp_path)
    with pytest.raises(EngineError, match="empty"):
        loaded(b"", tmp_path)
    with pytest.raises(EngineError, match=r"nowhere\.tenfold"):
        tenfold.load(tmp_path / "nowhere.tenfold")


def test_another_machine_is_refused_readably(tmp_path: Path) -> None:
    other = "cpu:aarch64" if os.uname().machine == "x86_64" else "cpu:x86-64-v3"
    path = tmp_path / "other.tenfold"
    engine(other).save(path)
    with pytest.raises(TargetError, match=other):
        tenfold.load(path)(np.ones((1, 600), np.float32))


def test_full_check_of_the_weights(image: bytes, tmp_path: Path) -> None:
    file = format.File(np.frombuffer(image, np.uint8), "whole")
    data = bytearray(image)
    at = file.offset("weights")
    data[at : at + 16] = data[at + 8 : at + 16] + data[at : at + 8]
    with pytest.raises(EngineError, match="section 'weights' is damaged"):
        loaded(bytes(data), tmp_path, verify="sha256")


def test_sums_are_of_64_bit_words() -> None:
    data = np.arange(CHUNK + 12, dtype=np.int64).astype(np.uint8)
    padded = np.concatenate([data, np.zeros(4, np.uint8)]).view(np.uint64)
    assert chunk_sums(data) == [
        int(padded[: CHUNK // 8].sum(dtype=np.uint64)),
        int(padded[CHUNK // 8 :].sum(dtype=np.uint64)),
    ]


def test_a_write_that_fails_leaves_the_old_file(image: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.tenfold"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EngineError, match="No space left"):
        engine().save(path)
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["model.tenfold"]


def test_memory_limit(image: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tenfold"
    path.write_bytes(image)
    with pytest.raises(LimitError, match="weights"):
        tenfold.load(path, memory_limit=1000)
    tight = tenfold.load(path, memory_limit=2_000_000)
    assert hashlib.sha256(tight(np.ones((1, 600), np.float32)).data).hexdigest()
