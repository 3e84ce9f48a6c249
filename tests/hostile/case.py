"""A hostile case: what is done to Tenfold, and the documented exception or the answer that it gets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import tenfold
from tenfold.errors import TenfoldError

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
OPSET = 18
MIB = 1 << 20


@dataclass(frozen=True)
class Raises:
    """One of Tenfold's exceptions, of one of these kinds; `operator` and `says` are patterns it must hold."""

    kinds: type[TenfoldError] | tuple[type[TenfoldError], ...]
    operator: str = ""
    says: str = ""

    def __str__(self) -> str:
        kinds = self.kinds if isinstance(self.kinds, tuple) else (self.kinds,)
        return " or ".join(kind.__name__ for kind in kinds) + (f" at {self.operator}" if self.operator else "")

    def misses(self, answer: Any, error: TenfoldError | None) -> str | None:
        """What is not as stated, or None."""
        if error is None:
            return f"gave {_brief(answer)}"
        if not isinstance(error, self.kinds):
            return f"{type(error).__name__}: {error}"
        if not re.search(self.operator, error.operator or ""):
            return f"names the operator {error.operator!r}: {error}"
        return None if re.search(self.says, str(error)) else f"says {error}"


@dataclass(frozen=True)
class Gives:
    """This answer: an array, or what `right` says of it."""

    wanted: Any = None
    right: Callable[[Any], bool] | None = None
    words: str = ""

    def __str__(self) -> str:
        return self.words or _brief(self.wanted)

    def misses(self, answer: Any, error: TenfoldError | None) -> str | None:
        """What is not as stated, or None."""
        if error is not None:
            return f"{type(error).__name__}: {error}"
        if self.right is not None:
            return None if self.right(answer) else f"gave {_brief(answer)}"
        wanted = np.asarray(self.wanted)
        same = np.array_equal(np.asarray(answer), wanted, equal_nan=wanted.dtype.kind == "f")
        return None if same else f"gave {_brief(answer)}"


def _brief(value: Any) -> str:
    text = str(value.tolist() if isinstance(value, np.ndarray) and value.size < 20 else value)
    return f"{type(value).__name__ if value is None else text[:80]}"


@dataclass(frozen=True)
class Case:
    """`act(folder)` is done in a child; it gets `gets` within `seconds` of its CPU and `mebibytes` of memory."""

    name: str
    act: Callable[[Path], Any]
    gets: Raises | Gives
    seconds: float = 10.0
    mebibytes: int = 256


@dataclass(frozen=True)
class Outcome:
    """What a case got, in words; how it differs from what it is to get; what it took."""

    got: str
    wrong: str | None
    seconds: float
    mebibytes: float


def attempt(case: Case, folder: Path) -> Outcome:
    """Do what the case says, and look at what it gets. An exception that is not Tenfold's is wrong."""
    _forget_peak()
    before, start = _memory("VmRSS"), time.process_time()
    answer, error = None, None
    try:
        with np.errstate(all="ignore"):
            answer = case.act(folder)
    except TenfoldError as caught:
        error = caught
        wrong = case.gets.misses(None, caught)
    except Exception as caught:
        wrong = f"{type(caught).__name__}: {str(caught)[:300]}"
    else:
        wrong = case.gets.misses(answer, None)
    seconds, took = time.process_time() - start, _memory("VmHWM") - before
    if wrong is None and seconds > case.seconds:
        wrong = f"took {seconds:.1f} s"
    if wrong is None and took > case.mebibytes:
        wrong = f"took {took:.0f} MiB"
    return Outcome(_got(answer, error), wrong, seconds, took)


def _got(answer: Any, error: TenfoldError | None) -> str:
    if error is None:
        return _brief(answer)
    first = error.message.splitlines()[0]
    return f"{type(error).__name__}: {f'{error.operator}: ' if error.operator else ''}{first}"


def _memory(field: str) -> float:
    """A line of this process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def node(kind: str, inputs: str, outputs: str = "z", **attributes: Any) -> NodeProto:
    """An operator called as it is kind, on names separated by spaces ("-" for an absent one)."""
    names = ["" if name == "-" else name for name in inputs.split()]
    domain = attributes.pop("domain", "")
    return helper.make_node(kind, names, outputs.split(), name=f"the {kind}", domain=domain, **attributes)


def weight(name: str, values: Any, dtype: Any = np.int64) -> TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.array(values, dtype), name)


def info(name: str, shape: Sequence[int | str | None] | None, kind: int = FLOAT) -> onnx.ValueInfoProto:
    """A tensor's declaration."""
    return helper.make_tensor_value_info(name, kind, shape)


X = (info("x", [2, 3]),)


def model(
    *nodes: NodeProto,
    inputs: Sequence[onnx.ValueInfoProto] = X,
    weights: Sequence[TensorProto] = (),
    outputs: str = "z",
    opset: int = OPSET,
) -> ModelProto:
    """A model of these operators; by default on x: f32[2, 3], giving z."""
    results = [onnx.ValueInfoProto(name=name) for name in outputs.split()]
    graph = helper.make_graph(list(nodes), "hostile", list(inputs), results, list(weights))
    domains = {one.domain for one in nodes} | {""}
    opsets = [helper.make_opsetid(domain, opset if domain == "" else 1) for domain in sorted(domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def built(message: Any, **options: Any) -> Callable[[Path], Any]:
    """Build it, which gives nothing."""

    def act(folder: Path) -> None:
        tenfold.build(message, cache=folder, **options)

    return act


def run(message: Any, *arrays: Any, **options: Any) -> Callable[[Path], Any]:
    """Build it and run it on these arrays, which gives its output or outputs."""

    def act(folder: Path) -> Any:
        return tenfold.build(message, cache=folder, **options)(*arrays)

    return act


def f32(*shape: int) -> Any:
    """0, 1, 2 … as f32 of that shape."""
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
