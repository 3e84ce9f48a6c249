"""ONNX Runtime as a peer; imported through `tenfold.diagnose.open_peer` alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

from tenfold.errors import UnsupportedError

Array = NDArray[Any]
_ERRORS_ONLY = 3


class OnnxRuntime:
    """A model in ONNX Runtime, on the CPU. `outputs` may name any value of the model's main graph."""

    def __init__(self, model: Path | bytes, outputs: Sequence[str] | None, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = _ERRORS_ONLY
        source = str(model) if isinstance(model, Path) else model
        with told_apart("ONNX Runtime"):
            if outputs is not None:
                source = with_outputs(model, outputs)
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name; UnsupportedError if ONNX Runtime does not take them."""
        try:
            return dict(zip(self._names, self._session.run(None, dict(inputs)), strict=True))
        except Exception as error:
            raise refused("ONNX Runtime", error) from error


def refused(name: str, error: Exception) -> UnsupportedError:
    """What another runtime says of a model or of its inputs, as an error of ours."""
    words = " ".join(str(error).split())
    return UnsupportedError(f"{name} does not run this model: {words}", remedy="compare with --against reference")


@contextlib.contextmanager
def told_apart(name: str) -> Iterator[None]:
    """Whatever is raised inside is another runtime's refusal."""
    try:
        yield
    except Exception as error:
        raise refused(name, error) from error


def with_outputs(model: Path | bytes, outputs: Sequence[str]) -> bytes:
    """The ONNX file of a model with other outputs; weights that lie beside it are read in."""
    message = onnx.load(model) if isinstance(model, Path) else onnx.load_from_string(model)
    del message.graph.output[:]
    message.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return bytes(message.SerializeToString())
