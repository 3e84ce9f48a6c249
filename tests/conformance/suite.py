"""onnx's backend tests as the installed package ships them. Nothing is downloaded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, TypeProto, ValueInfoProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
PACKAGE = Path(onnx.__file__).parent.parent
Values = list[Any]
"""Arrays; lists of values for sequences; None for an optional that holds nothing."""


@dataclass(frozen=True)
class Case:
    """One test of the suite."""

    kind: str
    name: str
    rtol: float
    atol: float
    source: Any

    def model(self) -> ModelProto:
        """The test's model."""
        if self.source.model is not None:
            model: ModelProto = self.source.model
            return model
        return onnx.load(self.path)

    @property
    def path(self) -> Path:
        """The model's file; node tests have none from onnx 1.23 on."""
        return Path(self.source.model_dir) / "model.onnx" if self.source.model_dir else PACKAGE / self.source.url

    def calls(self) -> Iterator[tuple[Values, Values]]:
        """Inputs and expected outputs of each of the test's data sets."""
        if self.source.data_sets is not None:
            for inputs, outputs in self.source.data_sets:
                yield [_value(one) for one in inputs], [_value(one) for one in outputs]
        elif self.source.model_dir:
            graph = self.model().graph
            for folder in sorted(self.path.parent.glob("test_data_set*")):
                yield _loaded(folder, "input", graph.input), _loaded(folder, "output", graph.output)
        else:
            yield self._light()

    def _light(self) -> tuple[Values, Values]:
        """A light model's inputs, as the suite's runner makes them, and the outputs bundled beside it."""
        graph = self.model().graph
        weights = {one.name for one in graph.initializer}
        inputs = [_ramp(one) for one in graph.input if one.name not in weights]
        stem = str(self.path.with_suffix(""))
        return inputs, [_array(f"{stem}_output_{index}.pb") for index in range(len(graph.output))]


def _ramp(info: ValueInfoProto) -> Any:
    shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in info.type.tensor_type.shape.dim]
    size = int(np.prod(shape))
    return (np.arange(size).reshape(shape) / size).astype(np.float32)


def _value(given: Any) -> Any:
    return numpy_helper.to_array(given) if isinstance(given, TensorProto) else given


def _array(path: str | Path) -> Any:
    return numpy_helper.to_array(TensorProto.FromString(Path(path).read_bytes()))


def _loaded(folder: Path, role: str, infos: Any) -> Values:
    count = len(list(folder.glob(f"{role}_*.pb")))
    return [_of_type(folder / f"{role}_{index}.pb", infos[index].type) for index in range(count)]


def _of_type(path: Path, declared: TypeProto) -> Any:
    data = path.read_bytes()
    kind = declared.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(TensorProto.FromString(data))


@cache
def cases() -> tuple[Case, ...]:
    """Every test of the suite: the largest models first, then by kind and name."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in KINDS:
            found += [Case(kind, one.name, one.rtol, one.atol, one) for one in load_model_tests(kind=kind)]
    return tuple(sorted(found, key=lambda case: (case.kind != "real", KINDS.index(case.kind), case.name)))
