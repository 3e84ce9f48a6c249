"""OpenVINO as a peer; imported through `tenfold.diagnose.open_peer` alone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from tenfold.diagnose.onnxruntime_peer import refused, told_apart, with_outputs

Array = NDArray[Any]


class OpenVino:
    """A model in OpenVINO, on the CPU, in f32, one call at a time. It is compiled at the first call, for the sizes of
    its inputs where the model allows that, as that is when OpenVINO is fastest.
    """

    def __init__(self, model: Path | bytes, outputs: Sequence[str] | None, threads: int | None) -> None:
        self._core = openvino.Core()
        with told_apart("OpenVINO"):
            source: Any = model if outputs is None else with_outputs(model, outputs)
            self._model = self._core.read_model(source)
        self._options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = str(threads)
        self._request: Any = None
        self._outputs: list[tuple[str, Any]] = []

    def _compile(self, inputs: Mapping[str, Array]) -> Any:
        with contextlib.suppress(RuntimeError):
            self._model.reshape({name: openvino.PartialShape(list(array.shape)) for name, array in inputs.items()})
        compiled = self._core.compile_model(self._model, "CPU", self._options)
        self._outputs = [(min(output.get_names(), default=""), output) for output in compiled.outputs]
        return compiled.create_infer_request()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, in memory that the next call writes again; UnsupportedError if OpenVINO fails."""
        try:
            if self._request is None:
                self._request = self._compile(inputs)
            found = self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)
        except Exception as error:
            raise refused("OpenVINO", error) from error
        return {name: np.asarray(found[output]) for name, output in self._outputs}
