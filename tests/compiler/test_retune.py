"""An engine tuned from its own file answers as before, can be refitted as before, and is replaced whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold.cli import main
from tenfold.compiler.retune import retune
from tenfold.errors import EngineError
from tenfold.ir.op import Array
from tenfold.runtime import format
from tenfold.runtime.engine import Engine, from_image
from tests.models.catalogue import BY_NAME
from tests.models.convert import Builder, helper

FLOAT = 1


def model() -> bytes:
    """Two convolutions with batch norms, so that weights are folded together, and a bias that is folded too."""
    random = np.random.default_rng(0)
    weights: dict[str, Array] = {}
    for number, (before, after) in enumerate(((3, 24), (24, 24))):
        weights[f"w{number}"] = random.standard_normal((after, before, 3, 3)).astype(np.float32) / 8
        for part in ("scale", "bias", "mean"):
            weights[f"{part}{number}"] = np.zeros(after, np.float32) + (part == "scale")
        weights[f"variance{number}"] = random.uniform(0.5, 1.5, after).astype(np.float32)
    build = Builder(weights)
    x = "x"
    for number in range(2):
        x = build("Conv", x, build.weight(f"w{number}"), pads=[1] * 4)
        parts = (build.weight(f"{part}{number}") for part in ("scale", "bias", "mean", "variance"))
        x = build("Relu", build("BatchNormalization", x, *parts))
    build("Identity", x, name="y")
    sizes = ["n", 3, 10, 10], ["n", 24, 10, 10]
    names = zip(("x", "y"), sizes, strict=True)
    inputs, outputs = ([helper.make_tensor_value_info(name, FLOAT, size)] for name, size in names)
    return build.model(inputs, outputs, 13)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tenfold.build(model(), cache=False)


X = np.random.default_rng(1).standard_normal((2, 3, 10, 10)).astype(np.float32)


def again(engine: Engine, effort: int = 0) -> Engine:
    return from_image(retune(engine.file, effort, cache=False), "again")


@pytest.mark.parametrize("effort", [0, 2])
def test_what_was_timed_stays_where_nothing_is_timed(effort: int) -> None:
    file = tenfold.build(model(), effort=3, cache=False).file
    (about,) = file.manifest["targets"].values()
    wanted = []
    for region in about["report"]["regions"]:
        timed = [tactic for tactic, seconds in region["candidates"] if isinstance(seconds, float)]
        region["tactic"] = timed[-1]
        wanted.append(region["tactic"])
    image = retune(file, effort, cache=False, stop=lambda: True)
    found = from_image(image, "again").report["regions"]
    assert [region["tactic"] for region in found] == wanted
    assert all(region["effort"] == 3 for region in found)


@pytest.mark.parametrize("effort", [0, 1])
def test_answers_stay(engine: Engine, effort: int) -> None:
    made = again(engine, effort)
    np.testing.assert_allclose(made(X), engine(X), rtol=1e-3, atol=1e-4)
    assert made.inputs == engine.inputs and made.outputs == engine.outputs
    assert len(made.report["regions"]) == len(engine.report["regions"])
    timed = [one for one in made.report["regions"] if "candidates" in one]
    assert bool(timed) == bool(effort)


def test_refits_stay(engine: Engine) -> None:
    """Also where other weights have the same content, and after tuning twice."""
    made = again(again(engine))
    assert sorted(json.loads(made.file.section("recipes").tobytes())["sources"]) == sorted(
        json.loads(engine.file.section("recipes").tobytes())["sources"]
    )
    for given in (
        {"bias0": np.linspace(-1, 1, 24, dtype=np.float32)},
        {"bias1": np.full(24, 0.25, np.float32)},
        {f"{part}1": np.linspace(1, 2, 24, dtype=np.float32) for part in ("scale", "mean", "variance")},
    ):
        try:
            expected = engine.refit(given)(X)
        except tenfold.InputError as refused:
            with pytest.raises(tenfold.InputError, match=str(refused.argument)):
                made.refit(given)
            continue
        np.testing.assert_allclose(made.refit(given)(X), expected, rtol=1e-4, atol=1e-5)


def test_a_model_with_branches() -> None:
    source = BY_NAME["silero-vad-op15"]
    before = tenfold.build(source.load(), cache=False)
    after, inputs = again(before), source.inputs(0)
    for name, expected in before.run(inputs).items():
        np.testing.assert_array_equal(after.run(inputs)[name], expected)
    assert len(after.plan.checks) == len(before.plan.checks)


def test_the_shell_replaces_the_file(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.tenfold"
    engine.save(path)
    assert main(["tune", str(path), "--effort", "0", "--cache", "off", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["changed"] == [] and said["regions"] == len(engine.report["regions"])
    np.testing.assert_array_equal(tenfold.load(path)(X), engine(X))
    assert main(["tune", str(path), "--cache", "off", "--effort", "7"]) == 2


def test_a_file_without_conditions_is_refused(engine: Engine) -> None:
    manifest = {name: value for name, value in engine.manifest.items() if name not in ("sections", "conditions")}
    sections = {name: engine.file.section(name) for name in engine.manifest["sections"]}
    old = format.File(format.pack(manifest, sections), "old")
    with pytest.raises(EngineError, match="build it again"):
        retune(old, 0, cache=False)
