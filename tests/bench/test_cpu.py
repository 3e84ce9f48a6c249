"""The speed table: its rows are models that run, its results are kept and drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tenfold
from bench.cpu import __main__ as table
from bench.cpu import language, operators, promises, torch_peer, vision
from bench.cpu.__main__ import chosen, said
from bench.cpu.results import Results, plot
from bench.cpu.rows import BY_ROW, GROUPS, ROWS, Row, drawn
from bench.cpu.shipping import ship
from bench.cpu.turns import distance, opened
from tenfold.compiler import choices
from tenfold.compiler.timings import Entry, Timings
from tenfold.diagnose import is_installed, open_peer
from tenfold.diagnose.roofline import Ceiling
from tests.models import light, packages

SMALL = {
    "mtcnn-12": lambda: vision.mtcnn(12),
    "mtcnn-24": lambda: vision.mtcnn(24),
    "bert": lambda: language.bert(1, "L", language.Width(32, 4, 1)),
    "lstm": lambda: operators.lstm_step(16),
    "mlp": lambda: operators.mlp(16, 8, 4),
    "product": lambda: operators.product(3, 20, 8),
    "given product": lambda: operators.given_product(3, 20, 8, turned=True),
    "cumulative sum": lambda: operators.cumulative_sum(0),
    "norm": operators.first_axis_norm,
}


@pytest.mark.parametrize("name", SMALL)
def test_sketches_answer_as_elsewhere(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(SMALL[name]())
    inputs = drawn(path, 0, {"L": 7})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for ours, theirs in zip(
        tenfold.build(path, cache=False).run(inputs).values(), session.run(None, inputs), strict=True
    ):
        assert np.isfinite(theirs).all() and theirs.std() > 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_rows_are_named_once_and_belong_to_groups() -> None:
    assert len(BY_ROW) == len(ROWS)
    assert {row.group for row in ROWS} == set(GROUPS)
    assert not {promise.name for promise in promises.PROMISES} & set(BY_ROW)


def test_rows_are_chosen_by_name_group_or_all() -> None:
    assert chosen("mlp") == ["mlp"]
    assert chosen("product,mlp,mlp") == [*(row.name for row in ROWS if row.group == "product"), "mlp"]
    assert chosen("promises") == list(promises.BY_PROMISE)
    assert len(chosen(None)) == len(ROWS) + len(promises.PROMISES)
    with pytest.raises(SystemExit, match="no row 'nothing'"):
        chosen("nothing")


def result(ratio: float | None = 1.5) -> dict[str, Any]:
    times = {"median_ms": 2.0, "p10_ms": 1.0, "p90_ms": 3.0}
    shares = {"share": 0.5, "roofline_ms": 1.0, "gflops": 9.0}
    return {"ours": times, "peers": {"onnxruntime": 3.0}, "ratio": ratio, "distance": 1e-7, **shares}


def test_results_add_up_over_runs(tmp_path: Path) -> None:
    first = Results(tmp_path)
    first.add("resnet50", 2, result())
    again = Results(tmp_path)
    assert again.measured("resnet50", 2) and again.measured("resnet50", 16) is None
    again.add("squeezenet", 2, result(0.8))
    again.add("mlp", 2, {"error": "it broke | here"})
    again.add("arena", 2, {"value": 1.0})
    again.add("resnet50", 2, {"error": "no such package"})
    assert "error" not in (again.measured("resnet50", 2) or {})
    data = json.loads(again.path.read_text())
    assert set(data["threads"]["2"]) == {"resnet50", "squeezenet", "mlp", "arena"}
    assert {"model", "isa", "caches", "cpus", "family"} <= set(data["machine"])
    page = again.path.with_suffix(".md").read_text().splitlines()
    rows = [line for line in page if line.startswith("| ")]
    table = rows[: next(i for i, row in enumerate(rows) if "promise" in row)]
    assert len({row.count("|") for row in table}) == 1
    assert any("geometric mean" in row and "1.10" in row for row in table)
    assert "0.80" in again.path.with_name(f"{again.path.stem}-2.svg").read_text()


def test_what_pip_cannot_download_is_named_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(packages, "CACHE", tmp_path)
    with pytest.raises(packages.NotThere, match=r"silero-vad==6.2.3; put silero_vad-6.2.3-\*.whl into .*/silero-vad=="):
        packages.member("silero-vad", "silero_vad/data/silero_vad.onnx")


def test_a_row_that_cannot_be_measured_lets_the_next_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def child(module: str, name: str, *_: str) -> str:
        if name == "silero-vad-op15":
            raise RuntimeError("put the wheel there")
        return json.dumps(result())

    monkeypatch.setattr(sys, "argv", ["bench", "--rows", "silero-vad-op15,mlp", "--out", str(tmp_path)])
    monkeypatch.setattr(table, "child", child)
    monkeypatch.setattr(table, "highest", lambda threads: Ceiling(1.0, 1.0))
    table.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0].split(maxsplit=1) == ["silero-vad-op15", "put the wheel there"] and said[1].startswith("mlp")


def test_a_run_that_was_broken_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, broken = list[str](), {"mlp"}

    def measured(name: str, options: object) -> dict[str, Any]:
        seen.append(name)
        if name in broken:
            raise KeyboardInterrupt
        return result()

    monkeypatch.setattr(sys, "argv", ["bench", "--out", str(tmp_path)])
    monkeypatch.setattr(table, "chosen", lambda words: ["resnet50", "mlp", "squeezenet"])
    monkeypatch.setattr(table, "measured", measured)
    with pytest.raises(SystemExit, match="broken off at mlp"):
        table.main()
    broken.clear()
    table.main()
    table.main()
    assert seen == ["resnet50", "mlp", "mlp", "squeezenet"]


def test_plots_are_drawn_to_scale() -> None:
    drawing = plot([("a", 2.0), ("b", 0.5)], width=740)
    assert 'width="500.0"' in drawing and 'width="125.0"' in drawing


def test_results_are_said_in_a_line() -> None:
    assert said({"error": "why"}) == "why"
    assert said({"value": 0.98765}) == "0.9877"
    assert said(result(None)).startswith("2.000 ms  onnxruntime 3.000  ratio –")


@pytest.mark.skipif(not is_installed("openvino"), reason="openvino comes with the extra [bench]")
def test_openvino_is_a_peer(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(operators.mlp(16, 8, 4))
    inputs = drawn(path, 0, {})
    ours = tenfold.build(path, cache=False).run(inputs)
    far = distance(ours, {"openvino": open_peer("openvino", path, threads=1)}, inputs)
    assert far is not None and far < 1e-5


def test_peers_are_those_of_the_row() -> None:
    assert list(opened(BY_ROW["mlp"], ("onnxruntime", "torch"), 1)) == ["onnxruntime"]


def test_pytorch_s_work_is_the_row_s(tmp_path: Path) -> None:
    for name, make in {
        "product": lambda: operators.product(3, 20, 8),
        "norm-first-axis": operators.first_axis_norm,
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(make())
        weights = [
            torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in onnx.load(path).graph.initializer
        ]
        inputs = drawn(path, 0, {})
        found = torch_peer.work_of(name, weights)(*map(torch.from_numpy, inputs.values()))
        (ours,) = tenfold.build(path, cache=False).run(inputs).values()
        np.testing.assert_allclose(ours, found.numpy(), rtol=1e-4, atol=1e-4)


TOLD = {
    "bert": lambda: language.bert(1, 7, language.Width(32, 4, 1)),
    "mobilenet_v2": lambda: vision.mobilenet_v2(1, 32),
    "squeezenet": lambda: light.load("squeezenet").read_bytes(),
}


@pytest.mark.parametrize("name", TOLD)
def test_networks_are_told_to_pytorch(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(TOLD[name]())
    peer = torch_peer.TorchPeer(Row(name, "cnn", lambda: path), threads=2, compiled=False)
    inputs = drawn(path, 1, {})
    want = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, inputs)
    for found, one in zip(peer.run(inputs).values(), want, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-3, atol=1e-5)


def test_only_what_is_clear_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "FOLDER", tmp_path)
    about = choices.about("cpu vendor_id Any", "1", inside="isa; 2 threads")

    def entry(region: str, seconds: float) -> Entry:
        times = {"a": 1e-5, "b": seconds}
        return Entry("\n".join([*about, region, "candidates: a b"]), times, min(times, key=lambda one: times[one]), 1)

    known = Timings(tmp_path / "cache")
    for number, seconds in enumerate((0.9e-5, 0.97e-5, 2e-5)):
        known.keep(entry(f"region {number}", seconds))
    known.bundle(tmp_path / "all.json")
    assert ship([tmp_path / "all.json"]) == {"cpu-vendor_id-any.json": 1}
