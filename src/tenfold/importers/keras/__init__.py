"""The Keras importer: `.keras` and `.h5` files and models in memory become graphs, by their configuration and weights.

Neither Keras nor TensorFlow is imported, and no code of a file is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tenfold.importers.keras.declared import Declared
from tenfold.importers.keras.layer import Layer, Table
from tenfold.importers.keras.saved import opened
from tenfold.importers.keras.walk import Import
from tenfold.importers.overrides import Bounds, Shape
from tenfold.ir.graph import Graph
from tenfold.ir.type import numbered_unknowns

__all__ = ["Layer", "import_keras"]


def import_keras(
    model: Any,
    *,
    shapes: Mapping[str, Shape] | None = None,
    dims: Mapping[str, Bounds] | None = None,
    outputs: Sequence[str] | None = None,
    converters: Table | None = None,
) -> Graph:
    """The graph of a Keras model: the path or bytes of a `.keras` or `.h5` file, or a functional `keras.Model`.

    `shapes` overrides the sizes of inputs, `dims` bounds or fixes open ones; `outputs` names layers ("dense_1",
    "encoder/dense") to return instead of the model's own results. `converters` holds those of the user's own layers by
    their registered names ("package>Class"), before Tenfold's.

    Raises ModelError for a damaged file or a layer that is not as its class states it, UnsupportedError listing every
    layer that no converter takes, OptionError for a name that the model does not have.
    """
    graph = Graph()
    with ExitStack() as stack, numbered_unknowns():
        saved = opened(model, stack)
        inner = saved.config.get("config")
        graph.name = str(inner.get("name", "model")) if isinstance(inner, Mapping) else "model"
        Import(saved, graph, dict(converters or {})).run(Declared(shapes, dims), outputs)
    graph.metadata = {"producer_name": "keras", "graph_name": graph.name}
    return graph
