"""What a model is, without loading it: by the class of an object, by the first bytes and member names of a file."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any

from tenfold.errors import ModelError, OptionError
from tenfold.runtime.format import MAGIC

PYTORCH = frozenset({"module", "program", "pt2", "torchscript", "script"})
"""The kinds that PyTorch's importer takes."""

_CLASSES = {
    "torch.export.exported_program.ExportedProgram": "program",
    "torch.jit._script.ScriptModule": "script",
    "torch.jit._script.RecursiveScriptModule": "script",
    "torch.jit._script.ScriptFunction": "script",
    "torch.ScriptFunction": "script",
    "keras.src.models.functional.Functional": "keras",
    "keras.src.models.sequential.Sequential": "keras",
    "torch.nn.modules.module.Module": "module",
    "tensorflow.python.eager.polymorphic_function.polymorphic_function.Function": "tensorflow",
    "tensorflow.python.eager.polymorphic_function.concrete_function.ConcreteFunction": "tensorflow",
    "keras.src.models.model.Model": "keras",
}
"""Classes with the kind of their objects, the first of an object's classes first: under its torch backend a model of
Keras is a module of PyTorch too.
"""

_HDF5 = b"\x89HDF"
_PICKLE = b"\x80"
_ZIP = b"PK\x03\x04"


def kind_of(model: Any) -> str:
    """ "onnx", "keras", "tensorflow", one of PYTORCH, or "" for an object of no known class.

    Raises ModelError for a pickled checkpoint, which holds weights and no model, and is never unpickled; OptionError
    for an engine.
    """
    if isinstance(model, str | os.PathLike | bytes | bytearray | memoryview):
        return _kind_of_file(model)
    names = [f"{one.__module__}.{one.__qualname__}" for one in type(model).__mro__]
    if "tenfold.runtime.engine.Engine" in names:
        raise _engine("call it, or build from the model that it was made of")
    for name, kind in _CLASSES.items():
        if name in names:
            return kind
    return "onnx" if any(name.startswith("onnx.") and name.endswith("ModelProto") for name in names) else ""


def _kind_of_file(model: Any) -> str:
    if isinstance(model, str | os.PathLike):
        if not os.path.isfile(model):
            return "tensorflow" if os.path.isfile(os.path.join(model, "saved_model.pb")) else "onnx"
        with open(model, "rb") as file:
            first = file.read(len(MAGIC))
        source: Any = model
    else:
        first, source = bytes(model[: len(MAGIC)]), io.BytesIO(model)
    if first[:1] == _PICKLE:
        raise _checkpoint()
    if first == MAGIC:
        raise _engine("load it with tenfold.load, or run it with `tenfold run`")
    if first.startswith(_HDF5):
        return "keras"
    return _kind_of_archive(source) if first.startswith(_ZIP) else "onnx"


def _kind_of_archive(source: Any) -> str:
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise ModelError(f"the model file is a damaged archive: {error}", remedy="write it again") from error
    if {"config.json", "metadata.json"} <= set(members):
        return "keras"
    inner = {name.partition("/")[2] or name for name in members}
    if any("serialized_exported_program" in name or name.endswith("archive_format") for name in members):
        return "pt2"
    if any(name.startswith("models/") and name.endswith(".json") for name in inner):
        return "pt2"
    if any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "data.pkl" in inner:
        raise _checkpoint()
    return "onnx"


def _engine(remedy: str) -> OptionError:
    return OptionError("this is an engine, which is built already", argument="model", remedy=remedy)


def _checkpoint() -> ModelError:
    return ModelError(
        "this file is a pickled checkpoint of torch.save; it is not opened, because unpickling runs its code",
        argument="model",
        remedy="make the module, call module.load_state_dict(torch.load(path, weights_only=True)), and build from it",
    )
