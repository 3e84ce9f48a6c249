"""How models come in: `open_model` turns a file, bytes or an object of another library into a graph."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tenfold.errors import OptionError, UnsupportedError
from tenfold.importers.sniff import PYTORCH, kind_of
from tenfold.ir.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenfold.importers.convert import Table
    from tenfold.importers.keras.layer import Table as Layers

INSTALL = "pip install 'tenfold[keras]'"


def open_model(
    model: Any,
    *,
    shapes: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
    example_inputs: Any = None,
    states: bool | Collection[str] = False,
    converters: Table | None = None,
    torch_converters: Mapping[str, Callable[..., Any]] | None = None,
    keras_converters: Layers | None = None,
) -> Graph:
    """The graph of a model: a path, bytes, an onnx.ModelProto, a PyTorch module or program, a Keras model, or a
    TensorFlow SavedModel or function; a Graph is returned as it is,
    and takes no arguments.

    For the arguments and errors see `tenfold.importers.onnx.import_onnx`, `tenfold.importers.torch.import_torch`,
    `tenfold.importers.keras.import_keras` and `tenfold.importers.tensorflow.as_onnx`.
    OptionError if the kind of object is unknown, or for example inputs that it does not take.
    """
    if isinstance(model, Graph):
        given = {"shapes": shapes, "dims": dims, "outputs": outputs, "data_root": data_root}
        for name in (name for name, value in given.items() if value):
            remedy = "say it where the graph is made, and leave it out here"
            raise OptionError(f"{name}= is for models that are imported, not for a Graph", argument=name, remedy=remedy)
        return model
    _require_names(outputs)
    kind = kind_of(model)
    if kind in PYTORCH:
        from tenfold.importers.torch import import_torch

        opening: dict[str, Any] = {"shapes": shapes, "dims": dims, "outputs": outputs}
        return import_torch(kind, model, example_inputs, **opening, states=states, converters=torch_converters)
    if kind == "tensorflow":
        from tenfold.importers.tensorflow import as_onnx

        model, kind, example_inputs = as_onnx(model, example_inputs), "onnx", None
    if example_inputs is not None:
        raise OptionError("example_inputs belong to PyTorch modules", argument="example_inputs", remedy="leave it out")
    if kind == "keras":
        if find_spec("h5py") is None:
            raise UnsupportedError("models of Keras are read by h5py, which is not installed", remedy=INSTALL)
        from tenfold.importers.keras import import_keras

        return import_keras(model, shapes=shapes, dims=dims, outputs=outputs, converters=keras_converters)
    if kind == "onnx":
        from tenfold.importers.onnx import import_onnx

        return import_onnx(model, shapes=shapes, dims=dims, outputs=outputs, data_root=data_root, converters=converters)
    raise OptionError(
        f"cannot import a {type(model).__module__}.{type(model).__qualname__}",
        argument="model",
        remedy=_remedy(model),
    )


def _require_names(outputs: Any) -> None:
    if isinstance(outputs, str):
        raise OptionError(f"outputs= is the str {outputs!r}", argument="outputs", remedy=f"give a list: [{outputs!r}]")
    listed = isinstance(outputs, Collection | None) and all(isinstance(one, str) for one in outputs or ())
    if not listed:
        remedy = "give a list of the names of values: ['logits']"
        raise OptionError(f"outputs= is {outputs!r}", argument="outputs", remedy=remedy)


def _remedy(model: Any) -> str:
    """What to give in the place of what is no model."""
    if isinstance(model, type):
        return f"make one first: {model.__name__}(…)"
    if isinstance(model, Mapping):
        return "weights alone are no model: load them into its module, and pass that"
    if hasattr(model, "read"):
        return "pass its path, or its bytes: model.read()"
    return "pass the path or bytes of a model, an onnx.ModelProto, a PyTorch or Keras model, or a tenfold Graph"
