"""TensorFlow's SavedModels and functions, turned into ONNX by tf2onnx in a process of its own.

TensorFlow takes seconds to import and holds memory and threads that an engine has no use for; the process that builds
never loads it, and a fatal error of it ends the child alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tenfold import settings
from tenfold.errors import ModelError, OptionError, UnsupportedError

OPSET = 18
INSTALL = "pip install 'tenfold[tensorflow]', or name a Python that has tensorflow and tf2onnx by TENFOLD_TENSORFLOW"


def as_onnx(model: Any, example_inputs: Any = None) -> bytes:
    """The ONNX file of a SavedModel's folder, or of a tf.function or concrete function in memory.

    `example_inputs` are what a function without an input signature is traced on. The first signature of a SavedModel is
    taken. Raises UnsupportedError if tf2onnx is not there, ModelError with its words if it fails.
    """
    if isinstance(model, str | os.PathLike):
        return _converted(Path(model))
    with tempfile.TemporaryDirectory(prefix="tenfold-") as folder:
        saved = Path(folder) / "saved"
        _save(model, example_inputs, saved)
        return _converted(saved)


def _save(function: Any, example_inputs: Any, folder: Path) -> None:
    """Write a function as a SavedModel; TensorFlow is already imported, or there would be no function."""
    tensorflow = sys.modules["tensorflow"]
    examples = () if example_inputs is None else example_inputs
    given = examples if isinstance(examples, tuple | list) else (examples,)
    try:
        concrete = function.get_concrete_function(*given) if hasattr(function, "get_concrete_function") else function
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"the function cannot be traced: {error}",
            argument="example_inputs",
            remedy="pass example_inputs=(x, …), or give the function an input_signature",
        ) from error
    holder = tensorflow.Module()
    holder.function, holder.held = concrete, list(concrete.variables)
    tensorflow.saved_model.save(holder, str(folder), signatures=concrete)


def _converted(folder: Path) -> bytes:
    python = settings.TENSORFLOW.value()
    if python is None and (find_spec("tensorflow") is None or find_spec("tf2onnx") is None):
        raise UnsupportedError(
            "SavedModels come in through tensorflow and tf2onnx, which are not there", remedy=INSTALL
        )
    with tempfile.TemporaryDirectory(prefix="tenfold-") as target:
        path = Path(target) / "model.onnx"
        options = ["--saved-model", str(folder), "--output", str(path), "--opset", str(OPSET)]
        command = [str(python or sys.executable), "-m", "tf2onnx.convert", *options]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise UnsupportedError(f"{command[0]} cannot be run: {error}", remedy=INSTALL) from error
        if ended.returncode or not path.exists():
            raise ModelError(
                f"tf2onnx cannot convert the SavedModel: {_last_words(ended.stderr)}",
                remedy="see that `python -m tf2onnx.convert` takes it, or save the model by model.save('model.keras')",
            )
        return path.read_bytes()


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[-3:])[:600] if lines else "it gave no reason"
