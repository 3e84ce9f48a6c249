"""The GPU's benchmark where there is no GPU: rows that are resumed, processes that fail, tables."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from bench.cuda import results as products
from bench.gpu import __main__ as runner
from bench.gpu import results
from bench.gpu.exact import exact
from bench.gpu.plausible import plausible
from bench.gpu.turns import Turns
from tenfold.importers import open_model
from tests.models import light

CHILD = """
import json, sys, time
rows, out = sys.argv[sys.argv.index("--rows") + 1].split(","), sys.argv[sys.argv.index("--out") + 1]
for row in rows:
    name, batch = row.split(":")
    if name == "crash":
        sys.exit(1)
    if name == "hang":
        time.sleep(60)
    with open(out, "a") as file:
        file.write(json.dumps({"network": name, "batch": int(batch), "complete": name != "alone"}) + chr(10))
    if name == "linger":
        time.sleep(60)
"""


def row(name: str, batch: int, ms: float, **more: Any) -> results.Row:
    return {"network": name, "batch": batch, "ms": ms, "error": 1e-3, "kernels": 3, "parts": [], **more}


def test_rows_go_on_after_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    started: list[list[str]] = []
    plain = runner.subprocess.Popen

    def start(command: list[str], **given: Any) -> Any:
        started.append(command)
        return plain([sys.executable, str(child), *command[3:]], **given)

    monkeypatch.setattr(runner.subprocess, "Popen", start)
    path = tmp_path / "gpu.jsonl"
    assert runner.run(["a:1", "crash:1", "b:2"], path, [], 20) == ["crash:1", "b:2"]
    assert runner.run(["b:2"], path, [], 20) == [] and runner.measured(path) == ["a:1", "b:2"]
    assert runner.run(["alone:1"], path, [], 20) == ["alone:1"]
    assert runner.run(["c:1", "hang:1"], path, [], 1.5) == ["hang:1"]
    begin = time.monotonic()
    assert runner.run(["linger:1"], path, [], 40) == [] and time.monotonic() - begin < 30
    assert runner.measured(path) == ["a:1", "b:2", "c:1", "linger:1"] and len(started) == 5


def test_processes_beside_each_other_count_their_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "gpu.jsonl"
    path.write_text("".join(json.dumps({"network": name, "batch": 1}) + "\n" for name in "abc") + '{"network": "cut')
    assert runner.measured(path) == ["a:1", "b:1", "c:1"]
    assert runner.since(path, 1, ["c:1", "d:1"]) == 1 and runner.since(path, 0, ["a:1", "b:1"]) == 2


def test_one_process_at_a_time(tmp_path: Path) -> None:
    one, other = (Turns(tmp_path / "turns") for _ in range(2))
    seen: list[str] = []
    waiting = threading.Thread(target=other.taken(lambda: seen.append("other")))
    with one, one:
        waiting.start()
        waiting.join(0.2)
        seen.append("one")
    waiting.join(10)
    assert seen == ["one", "other"]


def test_none_is_timed_while_another_compiles(tmp_path: Path) -> None:
    one, other, third = (Turns(tmp_path / "turns") for _ in range(3))
    seen: list[str] = []

    def timing() -> None:
        with third.quiet():
            seen.append("timed")

    waiting = threading.Thread(target=timing)
    with one.compiling(), other.compiling():
        waiting.start()
        waiting.join(0.2)
        with one:
            seen.append("a choice")
        seen.append("compiled")
    waiting.join(10)
    assert seen == ["a choice", "compiled", "timed"]
    with Turns(None).compiling(), Turns(None).quiet():
        pass


def test_choices_are_timed_in_turns(tmp_path: Path) -> None:
    class Clock:
        def benchmark_gpu(self, number: int) -> tuple[int, int]:
            return number, turns.depth

    turns = Turns(tmp_path / "turns")
    with turns.among_choices(Clock):
        assert Clock().benchmark_gpu(3) == (3, 1)
    assert Clock().benchmark_gpu(3) == (3, 0)


def test_an_anchor_adds_its_time() -> None:
    rows = results.merged([row("net", 1, 1.0, peers={"eager": 2.0})], [row("net", 1, 1.1, anchor=True)])
    (found,) = results.merged(rows, [row("net", 1, 1.2, peers={"eager": 2.0})])
    assert rows[0]["ms"] == 1.0 and found["ms"] == 1.2 and found["again"] == [1.1]
    assert "net at batch 1, in other runs: 1.100 ms" in results.page([found], "plot.svg")


def test_a_newer_row_keeps_its_peers() -> None:
    peers = {"torch.compile": {"ms": 2.0, "error": 1e-3}, "eager": {"failure": "none"}}
    old = [row("net", 1, 1.5, peers=peers), row("net", 8, 3.0, peers={"eager": 6.0})]
    found = results.merged(old, [row("net", 1, 1.0, peers={})])
    assert [one["ms"] for one in found] == [1.0, 3.0]
    assert results.ratio(found[0]) == (2.0, "") and results.ratio(found[1]) == (2.0, " (e)")
    shown = results.line(found[0] | {"flops": 1e9, "bytes": 1e9, "roofline_ms": 0.5})
    assert "| 1 | 1000 | 50% |" in shown and "| (2.000) | 2.00 |" in shown
    assert results.ratio(row("other", 1, 1.0)) is None


def test_rows_of_other_versions_stand_beside() -> None:
    old, new = ({"torch": version, "date": date} for version, date in (("2.11", "2026-11-21"), ("2.12", "2026-11-22")))
    rows = results.merged([row("net", 1, 1.0, about=old, peers={"eager": 3.0})], [row("net", 1, 2.0, about=new)])
    assert [(one["ms"], one.get("peers")) for one in rows] == [(1.0, {"eager": 3.0}), (2.0, None)]
    assert [one["ms"] for one in results.newest(reversed(rows))] == [2.0]
    assert [one["ms"] for one in results.merged(rows, [row("net", 1, 1.5, about=old)])] == [1.5, 2.0]


def test_images_in_float64() -> None:
    path = light.load("squeezenet")
    given = light.image(path)
    ((name, image),) = given.items()
    (found,) = exact(open_model(str(path), shapes={name: image.shape}), [image])
    (wanted,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, given)
    assert found.dtype == np.float64
    assert np.linalg.norm(found - wanted) <= 1e-5 * np.linalg.norm(found)


def test_a_newer_row_keeps_what_own_kernels_took() -> None:
    vendor = {"us": 5.0, "tactic": "cublas(choice=0)"}
    old = [row("net", 1, 1.5, own_ms=1.75, parts=[vendor])]
    (found,) = results.merged(old, [row("net", 1, 1.0, parts=[vendor], call_us=7.6)])
    assert "| 100% | 1.750 | 8 |" in results.line(found)
    assert "| 0% | 1.000 | — |" in results.line(row("net", 1, 1.0, parts=[{"us": 5.0, "tactic": "boxes(m=128)"}]))


def test_the_least_time_of_a_call_on_a_day() -> None:
    old = [row("net", 1, 1.5, call_us=8.0, about={"date": "2026-11-21"})]
    (same,) = results.merged(old, [row("net", 1, 1.0, call_us=30.0, about={"date": "2026-11-21"})])
    (later,) = results.merged(old, [row("net", 1, 1.0, call_us=30.0, about={"date": "2026-11-22"})])
    assert (same["ms"], same["call_us"], later["call_us"]) == (1.0, 8.0, 30.0)


def test_peers_give_results_that_tell_something() -> None:
    layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)]
    model = torch.nn.Sequential(*layers).eval()
    torch.nn.init.constant_(layers[0].weight, 1e-9)
    torch.nn.init.zeros_(layers[3].weight)
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        found = plausible(model, [x])(x)
        middle = torch.nn.Sequential(*layers[:2])(x)
    assert not model.training and found.std() > 1e-3
    assert abs(float(middle.mean())) < 1e-3


def test_each_gpu_has_its_table(tmp_path: Path) -> None:
    about = {"gpu": "NVIDIA B200", "torch": "2.11", "triton": "3.6", "date": "2026-11-21"}
    lines = tmp_path / "gpu.jsonl"
    rows = [row("net", 1, 1.0), row("net", 1, 0.5, about=about, peers={"eager": {"ms": 1.0}})]
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n")
    results.merge([lines], tmp_path)
    assert sorted(path.name for path in tmp_path.glob("gpu-*.md")) == ["gpu-b200.md", "gpu-h200.md"]
    page = (tmp_path / "gpu-b200.md").read_text()
    assert page.startswith("# Whole networks on one B200, f16") and "torch 2.11" in page and "2.00 (e)" in page


def test_products_beside_the_best_peer() -> None:
    def timed(work: str, variant: str, us: float) -> products.Row:
        return {"work": work, "variant": variant, "us": us, "error": 0, "tflops": 1.0, "gb_s": 1.0}

    old = [timed("a", "cublas", 2.0), timed("a", "tile(m=1)", 4.0), timed("b", "cublas", 1.0)]
    rows = products.merged(
        old, [timed("a", "cublas", 3.0), timed("a", "tile(m=1)", 2.0), timed("a", "x(m=1) early", 1.5)]
    )
    assert [one["us"] for one in rows] == [3.0, 2.0, 1.5, 1.0]
    assert "| 1.500 | 2.000 |" in products.line("a", rows[:3])
    json.dumps(rows)


def test_a_peer_is_told_with_its_ratio() -> None:
    row = {"ms": 0.5, "peers": {"eager": {"ms": 1.0, "error": 1e-3, "ready_s": 4.2}, "other": {"failure": "not there"}}}
    assert results.compared(row, "eager").endswith("2.00 times ours")
    assert results.compared(row, "other").endswith("other: not there")
