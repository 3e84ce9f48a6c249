"""How models come in: `open_model` turns a file, bytes or an object of another library into a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.errors import OptionError
from tenfold.ir.graph import Graph


def open_model(
    model: Any,
    *,
    shapes: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> Graph:
    """The graph of a model: a path, bytes or an onnx.ModelProto; a Graph is returned as it is.

    For the arguments and errors see `tenfold.importers.onnx.import_onnx`. OptionError if the kind of object is
    unknown.
    """
    if isinstance(model, Graph):
        return model
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__}
    if isinstance(model, str | os.PathLike | bytes | bytearray | memoryview) or any(
        kind.startswith("onnx.") and kind.endswith("ModelProto") for kind in kinds
    ):
        from tenfold.importers.onnx import import_onnx

        return import_onnx(model, shapes=shapes, dims=dims, outputs=outputs, data_root=data_root)
    raise OptionError(
        f"cannot import a {type(model).__module__}.{type(model).__qualname__}",
        argument="model",
        remedy="pass the path or the bytes of an ONNX model, an onnx.ModelProto, or a tenfold Graph",
    )
