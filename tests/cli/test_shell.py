"""The shell: every verb, every exit code, JSON on standard output alone, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import tenfold
from tenfold import errors
from tenfold.cli import main, shell
from tests.face import models

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its engine, and inputs."""
    made = tmp_path_factory.mktemp("shell")
    model = models.saved(models.perceptron(), made)
    assert main(["build", str(model), "-o", str(made / "one.tenfold"), "--cache", "off"]) == shell.OK
    np.savez(made / "in.npz", x=np.ones((3, 8), np.float32))
    return made


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", "off")


Ask = Callable[..., Any]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command with --json; its one object."""

    def run(*words: object, code: int = shell.OK) -> Any:
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


def test_build_tells_what_it_built(folder: Path, ask: Ask, tmp_path: Path) -> None:
    about = ask("build", folder / "model.onnx", "-o", tmp_path / "m.tenfold", "--threads", 1, "--effort", 0)
    assert (tmp_path / "m.tenfold").stat().st_size == about["bytes"]
    assert about["inputs"] == [{"name": "x", "dtype": "f32", "shape": ["n", 8]}]
    assert about["threads"] == 1 and about["regions"] >= 1 and about["seconds"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["m.tenfold"]


def test_build_takes_shapes_dims_and_targets(folder: Path, ask: Ask, tmp_path: Path) -> None:
    words = ["--shape", "x=batchx8", "--dim", "batch=2..64/2", "--target", "cpu:x86-64-v3,cpu:aarch64"]
    about = ask("build", folder / "model.onnx", "-o", tmp_path / "m.tenfold", *words, "--precision", "f32")
    assert about["inputs"][0]["shape"] == ["batch", 8]
    assert set(about["targets"]) == {"cpu:x86-64-v3", "cpu:aarch64"}
    assert about["precision"] == "f32"


def test_run_on_a_file(folder: Path, ask: Ask, tmp_path: Path) -> None:
    about = ask("run", folder / "one.tenfold", "--inputs", folder / "in.npz", "--outputs", tmp_path / "out.npz")
    assert about["outputs"]["y"]["shape"] == [3, 4]
    with np.load(tmp_path / "out.npz") as results:
        assert results["y"].shape == (3, 4) and results["y"].dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


def test_run_on_made_up_inputs_is_the_same_each_time(folder: Path, ask: Ask) -> None:
    one, two = (ask("run", folder / "one.tenfold", "--random", 7, "--dim", "n=5")["outputs"] for _ in range(2))
    assert one == two and one["y"]["shape"] == [5, 4]
    other = ask("run", folder / "model.onnx", "--random", 7, "--shape", "x=5x8")["outputs"]
    assert other["y"]["shape"] == [5, 4]
    np.testing.assert_allclose(other["y"]["mean"], one["y"]["mean"], rtol=1e-5)


def test_inspect(folder: Path, ask: Ask) -> None:
    about = ask("inspect", folder / "one.tenfold", "--why")
    assert about["spans"] == [{"kind": "native", "steps": about["spans"][0]["steps"]}]
    assert {name for region in about["regions"] for name in region["source"]} >= {"first", "relu", "second"}
    assert set(about["source_map"]) >= {"first", "second"}
    assert about["memory"]["lower_bound"] <= about["memory"]["arena"] <= about["memory"]["sum"]
    assert sum(about["sections"].values()) <= about["bytes"]
    assert about["model"]["custom_metadata_map"] == {"author": "somebody", "labels": "a,b"}
    assert ask("inspect", folder / "model.onnx")["regions"] == about["regions"]


def test_inspect_of_a_foreign_target(folder: Path, ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "arm.tenfold"
    assert main(["build", str(folder / "model.onnx"), "-o", str(path), "--target", "cpu:aarch64"]) == shell.OK
    assert ask("inspect", path)["target"] == "cpu:aarch64"
    ask("inspect", path, "--target", "cpu:x86-64-v3", code=shell.UNSUPPORTED)
    error = ask("run", path, "--random", 0, code=shell.UNSUPPORTED)["error"]
    assert error["type"] == "TargetError" and error["remedy"]


def test_profile(folder: Path, ask: Ask, tmp_path: Path) -> None:
    about = ask("profile", folder / "one.tenfold", "--trace", tmp_path / "trace.json")
    assert {name for one in about["operators"] for name in one["operators"]} >= {"first", "second"}
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == about["steps"]
    assert all(one["roofline"] > 0 for one in about["operators"])
    assert sum(one["share"] for one in about["operators"]) == pytest.approx(1)
    alone = ask("profile", folder / "model.onnx", "--effort", 0, "--no-roofline")
    assert {one["roofline"] for one in alone["operators"]} == {None}


def test_bench(folder: Path, ask: Ask) -> None:
    about = ask("bench", folder / "model.onnx", "--rounds", 2, "--threads", 1)
    assert about["roofline_ms"] > 0 and about["share"] == pytest.approx(
        about["roofline_ms"] / about["ours"]["median_ms"]
    )
    assert {"model", "target", "cpu", "threads", "precision", "ours", "peers", "ratio", "roofline_ms", "share"} <= set(
        about
    )
    assert about["threads"] == 1 and set(about["ours"]) == {"median_ms", "p10_ms", "p90_ms"}
    assert set(about["peers"]) == {"onnxruntime"} and about["ratio"] > 0
    alone = ask("bench", folder / "one.tenfold", "--rounds", 1, "--no-roofline")
    assert alone["share"] is None and alone["peers"] == {} and alone["ratio"] is None
    assert set(
        ask("bench", folder / "one.tenfold", "--model", folder / "model.onnx", "--rounds", 1, "--no-roofline")["peers"]
    )


@pytest.mark.parametrize("against", ["onnxruntime", "reference"])
def test_compare(folder: Path, ask: Ask, against: str) -> None:
    about = ask("compare", folder / "model.onnx", "--against", against)
    assert about["agrees"] and about["first_departure"] is None
    assert [layer["value"] for layer in about["layers"]] == ["xw", "sum", "h", "y"]
    assert all(layer["difference"] < 1e-5 for layer in about["layers"])


def test_compare_beyond_the_tolerance(folder: Path, ask: Ask) -> None:
    words = ("compare", folder / "model.onnx", "--against", "reference", "--tolerance", "-1")
    about = ask(*words, code=shell.DIFFERS)
    assert about["first_departure"]["operator"] == "first"
    assert ask(*words, "--no-layers", code=shell.DIFFERS)["layers"] == []


def test_compare_an_engine_with_its_model(folder: Path, ask: Ask) -> None:
    about = ask("compare", folder / "one.tenfold", "--model", folder / "model.onnx", "--against", "reference")
    assert about["agrees"] and len(about["layers"]) == 4


def test_settings(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_THREADS", "1")
    about = ask("settings")
    values = {one["variable"]: one["value"] for one in about["settings"]}
    assert values["TENFOLD_THREADS"] == 1 and values["TENFOLD_CACHE"] is None
    assert about["machine"]["threads"] == 1 and about["machine"]["pinned"] in (True, False)


@pytest.mark.parametrize("verb", ["inspect", "profile"])
def test_tables(folder: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert main([verb, str(folder / "one.tenfold"), *(["--why"] if verb == "inspect" else [])]) == shell.OK
    assert "MatMul" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["compare", "model.onnx"], ["run", "one.tenfold", "--random", "0"], ["settings"]])
def test_words_for_people(folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main([str(folder / word) if (folder / word).exists() else word for word in words]) == shell.OK
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_progress_and_logs_are_on_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["build", str(folder / "model.onnx"), "-o", str(tmp_path / "m.tenfold"), "--cache", "off", "-v", "--json"]
    assert main(words) == shell.OK
    captured = capsys.readouterr()
    json.loads(captured.out)
    for phase in ("import", "passes", "fuse", "kernels", "compile", "link"):
        assert f"{phase}:" in captured.err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == shell.OK
    assert "tenfold" in capsys.readouterr().out
    assert main(["--help"]) == shell.OK
    words = capsys.readouterr().out.split()
    assert set(words) >= {"build", "run", "bench", "profile", "inspect", "compare", "settings"}


def bad_model(folder: Path) -> Path:
    path = folder / "bad.onnx"
    path.write_bytes(b"not a model")
    return path


def strange_model(folder: Path) -> Path:
    return models.saved(models.unsupported(), folder, "strange.onnx")


def damaged_engine(folder: Path) -> Path:
    path = folder / "damaged.tenfold"
    path.write_bytes((folder / "one.tenfold").read_bytes()[:5000])
    return path


def wrong_inputs(folder: Path) -> Path:
    np.savez(folder / "wrong.npz", x=np.ones((3, 8)))
    return folder / "wrong.npz"


def never(folder: Path) -> list[object]:
    """A build that is not to happen."""
    return ["build", folder / "model.onnx", "-o", folder / "never.tenfold"]


CODES: list[tuple[int, str, Callable[[Path], list[object]]]] = [
    (shell.USAGE, "", lambda at: ["frobnicate"]),
    (shell.USAGE, "", lambda at: ["build", at / "model.onnx"]),
    (shell.USAGE, "", lambda at: ["run", at / "one.tenfold", "--threads", "0", "--random", "0"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "model.onnx", "--random", "0", "--shape", "x"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "model.onnx", "--random", "0", "--shape", "z=1x2"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "model.onnx", "--random", "0", "--dim", "n=3..x"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "model.onnx", "--random", "0", "--precision", "f17"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "model.onnx", "--random", "0", "--precision", "bf16"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "one.tenfold", "--random", "0", "--precision", "f32"]),
    (shell.USAGE, "OptionError", lambda at: ["compare", at / "one.tenfold"]),
    (shell.USAGE, "OptionError", lambda at: ["compare", at / "model.onnx", "--against", "nobody"]),
    (shell.MODEL, "ModelError", lambda at: ["run", at / "nowhere.onnx", "--random", "0"]),
    (shell.MODEL, "ModelError", lambda at: ["build", bad_model(at), "-o", at / "never.tenfold"]),
    (shell.UNSUPPORTED, "UnsupportedError", lambda at: ["run", strange_model(at), "--random", "0"]),
    (shell.UNSUPPORTED, "TargetError", lambda at: ["inspect", at / "model.onnx", "--target", "cpu:x86-64-v5"]),
    (shell.ENGINE, "EngineError", lambda at: ["run", damaged_engine(at), "--random", "0"]),
    (shell.ENGINE, "EngineError", lambda at: ["inspect", at / "nowhere.tenfold"]),
    (shell.ENGINE, "EngineError", lambda at: ["build", at / "model.onnx", "-o", at / "no" / "such" / "place.tenfold"]),
    (shell.INPUT, "InputError", lambda at: ["run", at / "one.tenfold"]),
    (shell.INPUT, "InputError", lambda at: ["run", at / "one.tenfold", "--inputs", wrong_inputs(at)]),
    (shell.INPUT, "InputError", lambda at: ["run", at / "one.tenfold", "--inputs", at / "model.onnx"]),
    (shell.INPUT, "InputError", lambda at: ["run", at / "one.tenfold", "--random", "0", "--shape", "x=3x7"]),
    (shell.INPUT, "InputError", lambda at: ["run", at / "one.tenfold", "--random", "0", "--shape", f"x={10**11}x8"]),
    (shell.USAGE, "", lambda at: ["run", at / "one.tenfold", "--random", "-1"]),
    (shell.INPUT, "InputError", lambda at: ["build", at / "model.onnx", "-o", at / "model.onnx"]),
    (
        shell.INPUT,
        "InputError",
        lambda at: ["run", at / "one.tenfold", "--inputs", at / "in.npz", "--outputs", at / "in.npz"],
    ),
    (shell.INPUT, "InputError", lambda at: ["profile", at / "one.tenfold", "--trace", at / "no" / "trace.json"]),
    (shell.INPUT, "InputError", lambda at: ["timings", "export", at / "no" / "a.json", "--cache", at]),
    (shell.USAGE, "OptionError", lambda at: ["timings", "merge", at / "no.json", "--cache", at]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "one.tenfold", "--random", "0", "--shape", "q=1x8"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "one.tenfold", "--random", "0", "--dim", "q=1"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "one.tenfold", "--random", "0", "--inputs", at / "in.npz"]),
    (shell.USAGE, "OptionError", lambda at: ["run", at / "one.tenfold", "--dim", "n=1", "--inputs", at / "in.npz"]),
    (shell.USAGE, "OptionError", lambda at: [*never(at), "--shape", "x=1xmax"]),
    (shell.USAGE, "OptionError", lambda at: [*never(at), "--shape", "x=1x8", "--shape", "x=2x8"]),
    (shell.USAGE, "OptionError", lambda at: [*never(at), "--dim", "n=1", "--dim", "n=2"]),
    (shell.USAGE, "OptionError", lambda at: [*never(at), "--cache", ""]),
    (shell.USAGE, "OptionError", lambda at: ["compare", at / "model.onnx", "--tolerance", "nan"]),
    (shell.USAGE, "OptionError", lambda at: ["bench", at / "one.tenfold", "--model", at / "one.tenfold"]),
]


@pytest.mark.parametrize(("code", "kind", "words"), CODES)
def test_exit_codes(
    folder: Path, capsys: pytest.CaptureFixture[str], code: int, kind: str, words: Callable[[Path], list[object]]
) -> None:
    assert main([*map(str, words(folder)), "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err
    if kind:
        error = json.loads(captured.out)["error"]
        assert error["type"] == kind and error["message"]
    assert not (folder / "never.tenfold").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DeviceError, shell.DEVICE),
        (errors.OutOfMemory, shell.DEVICE),
        (errors.ExecutionError, shell.DEVICE),
        (errors.Cancelled, shell.DEVICE),
        (errors.LimitError, shell.LIMIT),
    ],
)
def test_exit_codes_of_calls_that_fail(
    folder: Path, error: type[errors.TenfoldError], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error("it failed", remedy="try again")

    monkeypatch.setattr("tenfold.runtime.context.Context.run", fail)
    assert main(["run", str(folder / "one.tenfold"), "--random", "0"]) == code


def test_every_error_has_a_code() -> None:
    assert [shell.OK, shell.DIFFERS, shell.USAGE, shell.MODEL, shell.UNSUPPORTED] == [0, 1, 2, 3, 4]
    assert [shell.ENGINE, shell.INPUT, shell.DEVICE, shell.LIMIT, shell.INTERRUPTED] == [5, 6, 7, 8, 130]


def test_python_runs_the_package() -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    found = subprocess.run(
        [sys.executable, "-m", "tenfold", "--version"], env=environment, capture_output=True, text=True
    )
    assert found.returncode == shell.OK and found.stdout.startswith("tenfold ")


def test_control_c_ends_a_call(tmp_path: Path) -> None:
    model = tmp_path / "endless.tenfold"
    tenfold.build(models.saved(models.endless(), tmp_path)).save(model)
    np.savez(tmp_path / "in.npz", turns=np.array(2**40, np.int64), x=np.zeros(4, np.float32))
    words = ["run", str(model), "--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz")]
    begun = f"import sys; from tenfold.cli import main; print(flush=True); sys.exit(main({words!r}))"
    command = [sys.executable, "-c", begun]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    streams: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, start_new_session=True, **streams) as running:
        assert running.stdout is not None and running.stdout.readline()
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == shell.INTERRUPTED
    assert not list(tmp_path.glob("*out.npz*"))


@pytest.mark.parametrize("after", [0.0, 0.3, 0.8])
def test_control_c_leaves_nothing_behind(tmp_path: Path, after: float) -> None:
    nodes = []
    for number in range(1200):
        nodes.append(helper.make_node("Softmax", [f"v{number}"], [f"v{number + 1}"], axis=-1, name=f"s{number}"))
    made = models.model(nodes, [models.floats("v0", 4, 64)], [models.floats("v1200", 4, 64)], {})
    model = models.saved(made, tmp_path)
    words = ["build", str(model), "-o", str(tmp_path / "out.tenfold"), "--cache", str(tmp_path / "cache"), "-v"]
    command = [sys.executable, "-c", f"import sys; from tenfold.cli import main; sys.exit(main({words!r}))"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    assert running.stderr
    running.stderr.readline()
    time.sleep(after)
    running.send_signal(signal.SIGINT)
    said = running.stderr.read().decode()
    running.stderr.close()
    assert running.wait(30) == shell.INTERRUPTED, said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("*.tenfold*")) and not list(tmp_path.glob("cache/engines/*"))
    assert not list(tmp_path.glob("cache/objects/tmp*"))


def test_control_c_comes_again_where_python_drops_it() -> None:
    class Going:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), shell.heeding_interrupts():
        Going()
        time.sleep(5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
def test_an_answer_that_cannot_be_written_is_told_without_a_traceback(folder: Path) -> None:
    command = [sys.executable, "-m", "tenfold", "inspect", str(folder / "one.tenfold"), "--json"]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert ended.returncode == shell.USAGE
    assert ended.stderr == "error: [Errno 28] No space left on device\n"
