"""SavedModels beside TensorFlow, which `make test` keeps in an environment of its own, named by TENFOLD_TENSORFLOW."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tenfold
from tenfold import settings
from tenfold.errors import ModelError, UnsupportedError
from tenfold.importers import tensorflow as door
from tenfold.importers.sniff import kind_of

PYTHON = settings.TENSORFLOW.value() or (sys.executable if find_spec("tensorflow") and find_spec("tf2onnx") else None)
installed = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="no TensorFlow is here: it comes by `make test`"),
]

MODELS = {
    "keras": """
import keras
layers = keras.layers
model = keras.Sequential([
    keras.Input((16, 16, 3), name="image"),
    layers.Conv2D(8, 3, padding="same", activation="relu"),
    layers.BatchNormalization(),
    layers.MaxPooling2D(),
    layers.GlobalAveragePooling2D(),
    layers.Dense(4, activation="softmax"),
])
given = {"image": random.standard_normal((2, 16, 16, 3)).astype("f")}
wanted = [model(given["image"]).numpy()]
model.export(folder, verbose=False)
""",
    "function": """
class Model(tf.Module):
    def __init__(self):
        self.weight = tf.Variable(random.standard_normal((4, 3)).astype("f"))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x"), tf.TensorSpec([], tf.float32, "s")])
    def __call__(self, x, s):
        return {"y": tf.nn.relu(tf.matmul(x, self.weight)) * s, "z": tf.reduce_sum(x, axis=1)}

model = Model()
given = {"x": random.standard_normal((5, 4)).astype("f"), "s": np.float32(2)}
wanted = [model(**given)[name].numpy() for name in "yz"]
tf.saved_model.save(model, folder)
""",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each model, and what it is given and answers, as TensorFlow has saved them."""
    folder = tmp_path_factory.mktemp("saved")
    lines = ["import sys, numpy as np, tensorflow as tf"]
    for name, text in MODELS.items():
        lines += [f"folder = sys.argv[1] + '/{name}'", "random = np.random.default_rng(0)", text]
        lines.append("np.savez(folder + '.npz', **{f'wanted{at}': one for at, one in enumerate(wanted)}, **given)")
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": "", "HOME": str(folder)}
    command = [str(PYTHON), "-c", "\n".join(lines), str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder


class TestWithTensorFlow:
    pytestmark = installed

    @pytest.mark.parametrize("name", MODELS)
    def test_a_saved_model_answers_as_tensorflow_does(self, name: str, saved: Path) -> None:
        folder = saved / name
        assert kind_of(folder) == "tensorflow"
        engine = tenfold.build(folder, cache=False)
        arrays = np.load(f"{folder}.npz")
        found = engine.run({one.name: arrays[one.name] for one in engine.inputs})
        assert engine.report["host_steps"] == 0
        for at, one in enumerate(found.values()):
            np.testing.assert_allclose(one, arrays[f"wanted{at}"], rtol=1e-5, atol=1e-6)

    def test_what_tf2onnx_refuses_is_told_in_its_words(self, tmp_path: Path) -> None:
        (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
        with pytest.raises(ModelError, match="tf2onnx cannot convert"):
            tenfold.build(tmp_path, cache=False)


def test_without_the_extra_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "find_spec", lambda name: None)
    monkeypatch.setattr(door, "settings", SimpleNamespace(TENSORFLOW=SimpleNamespace(value=lambda: None)))
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UnsupportedError, match=r"pip install 'tenfold\[tensorflow\]'"):
        tenfold.build(tmp_path, cache=False)
