"""Looking inside: profiles, comparisons with another runtime, timings beside it, reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from tenfold.errors import OptionError

Array = NDArray[Any]


class Peer(Protocol):
    """Another way to run a model."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name."""


def open_peer(
    name: str, model: Path | bytes, *, outputs: Sequence[str] | None = None, threads: int | None = None, **opening: Any
) -> Peer:
    """A model in another runtime: "onnxruntime", "openvino" (in f32), or "reference" (the interpreter on the graph as
    it was imported).

    `outputs` names any values of the model to return instead of its own outputs, `threads` is how many it may use,
    `opening` is passed on to the importer. OptionError if it is unknown or not installed, UnsupportedError if it takes
    no such model.
    """
    if name == "reference":
        from tenfold.diagnose.reference import Reference

        return Reference(model, outputs, opening)
    if name not in ("onnxruntime", "openvino"):
        raise OptionError(
            f"there is no peer {name!r}", argument="against", remedy="use onnxruntime, openvino or reference"
        )
    if not is_installed(name):
        raise OptionError(f"{name} is not installed", argument="against", remedy="pip install 'tenfold[bench]'")
    if name == "openvino":
        from tenfold.diagnose.openvino_peer import OpenVino

        return OpenVino(model, outputs, threads)
    from tenfold.diagnose.onnxruntime_peer import OnnxRuntime

    return OnnxRuntime(model, outputs, threads)


def is_installed(name: str) -> bool:
    """Whether another runtime could be imported."""
    return find_spec(name) is not None
