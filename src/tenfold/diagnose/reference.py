"""The interpreter as a peer: plain NumPy, on the graph as it was imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tenfold.importers import open_model
from tenfold.ir.interpret import Interpreter

Array = NDArray[Any]


class Reference:
    """A model as NumPy computes it, operator by operator. `outputs` may name any value of the model's main graph."""

    def __init__(self, model: Path | bytes, outputs: Sequence[str] | None, opening: Mapping[str, Any]) -> None:
        self._graph = open_model(model, outputs=outputs, **opening)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name."""
        return Interpreter().run(self._graph, inputs)
