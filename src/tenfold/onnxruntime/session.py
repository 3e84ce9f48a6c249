"""onnxruntime's InferenceSession over an engine."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tenfold
from tenfold.errors import ModelError
from tenfold.onnxruntime import failures
from tenfold.onnxruntime.options import RunOptions, SessionOptions
from tenfold.onnxruntime.values import IOBinding, OrtValue, type_name
from tenfold.runtime.engine import Engine
from tenfold.runtime.forks import enlist
from tenfold.runtime.format import MAGIC
from tenfold.runtime.plan import Spec

Array = NDArray[Any]
PROVIDER = "CPUExecutionProvider"
_LATEST_VERSION = 2**63 - 1
_log = logging.getLogger("tenfold")


@dataclass(frozen=True)
class NodeArg:
    """An input or output: its name, its type ("tensor(float)"), its sizes (a name or None for an open one)."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class ModelMetadata:
    """What the model's author wrote into it."""

    producer_name: str = ""
    graph_name: str = ""
    domain: str = ""
    description: str = ""
    graph_description: str = ""
    version: int = _LATEST_VERSION
    custom_metadata_map: dict[str, str] = field(default_factory=dict)


class InferenceSession:
    """A model that is built (or taken from the cache of engines) when the session is made.

    `path_or_bytes` is an ONNX model or an engine file; `providers` names what may run it, of which the CPU is all there
    is. Raises NoSuchFile, InvalidProtobuf, InvalidGraph, NotImplemented, TypeError.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes,
        sess_options: SessionOptions | None = None,
        providers: Sequence[str | tuple[str, Mapping[str, Any]]] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(sess_options, SessionOptions | None):
            raise TypeError(f"sess_options is a {type(sess_options).__name__}; give SessionOptions()")
        self._options = sess_options or SessionOptions()
        self._options.apply_log_level()
        _check_providers(providers or ())
        if self._options.ignored:
            _log.info("ignored options: %s", ", ".join(self._options.ignored))
        self.engine = _open(path_or_bytes, self._options)
        self._inputs = [_argument(spec) for spec in self.engine.inputs]
        self._outputs = [_argument(spec) for spec in self.engine.outputs]
        self._input_names = frozenset(spec.name for spec in self.engine.inputs)
        self._defaults = [_argument(spec) for spec in self.engine.defaults]
        self._weights = frozenset(one.name for one in self._defaults)
        self._refitted: tuple[dict[str, Array], Engine] = ({}, self.engine)
        self._output_names = [spec.name for spec in self.engine.outputs]
        self._anew()
        enlist(self, InferenceSession._anew)
        self._events: list[dict[str, Any]] = []
        self._started = time.time_ns()

    def _anew(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def get_inputs(self) -> list[NodeArg]:
        """What the model takes."""
        return self._inputs

    def get_outputs(self) -> list[NodeArg]:
        """What it gives."""
        return self._outputs

    def get_overridable_initializers(self) -> list[NodeArg]:
        """The weights that `run` takes like inputs: initializers that are inputs of the model, too."""
        return self._defaults

    def get_modelmeta(self) -> ModelMetadata:
        """What the model's author wrote into it."""
        said = self.engine.manifest.get("model", {})
        return ModelMetadata(**{name: value for name, value in said.items() if name != "overridable"})

    def get_session_options(self) -> SessionOptions:
        """The options that the session was made with."""
        return self._options

    def get_providers(self) -> list[str]:
        """What runs the model."""
        return [PROVIDER]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """The options of what runs the model: none."""
        return {PROVIDER: {}}

    def set_providers(
        self,
        providers: Sequence[str | tuple[str, Mapping[str, Any]]] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Accepted: the CPU stays what runs the model."""
        _check_providers(providers or ())

    def enable_fallback(self) -> None:
        """Accepted: there is nothing to fall back to."""

    def disable_fallback(self) -> None:
        """Accepted: there is nothing to fall back to."""

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: RunOptions | None = None
    ) -> list[Array]:
        """The outputs of these names (all if None or empty), in their order.

        Raises ValueError for a missing input, InvalidArgument for a name or array that does not fit.
        """
        names = self._chosen(output_names)
        inputs = self._feed(input_feed)
        with failures.translated():
            engine = self._with({name: np.asarray(array) for name, array in inputs.items() if name in self._weights})
            inputs = {name: array for name, array in inputs.items() if name in self._input_names}
            results = self._call(engine, inputs, run_options)
        return [results[name] for name in names]

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callable[[list[Array], Any, str], None],
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """`run` in another thread, which then calls `callback(results, user_data, error)`; the error is "" if none.

        What the callback raises goes to `threading.excepthook`. TypeError for one that cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"callback is a {type(callback).__name__}; give a function of (results, user_data, error)")
        self._chosen(output_names)
        inputs = self._feed(input_feed)

        def work() -> None:
            results: list[Array] = []
            error = ""
            try:
                results = self.run(output_names, inputs, run_options)
            except Exception as failure:
                error = str(failure)
            try:
                callback(results, user_data, error)
            except Exception as failure:
                raised = type(failure), failure, failure.__traceback__, threading.current_thread()
                threading.excepthook(threading.ExceptHookArgs(raised))

        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(thread_name_prefix="tenfold")
        self._pool.submit(work)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """`run` with tensors instead of arrays."""
        return [OrtValue(array) for array in self.run(output_names, input_dict_ort_values, run_options)]

    def io_binding(self) -> IOBinding:
        """Inputs and outputs that stay between calls of `run_with_iobinding`."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """A call with what is bound; the results are in the binding.

        Raises TypeError for what is no binding, ValueError for another session's, RuntimeError where no
        output is asked for.
        """
        if not isinstance(iobinding, IOBinding):
            raise TypeError(f"iobinding is a {type(iobinding).__name__}; make one with io_binding()")
        if iobinding.context.engine is not self.engine:
            raise ValueError("IOBinding must be used with the session that created it.")
        with _terminable(run_options, iobinding.context.cancel), failures.translated():
            iobinding.run()

    def get_profiling_start_time_ns(self) -> int:
        """When the session began, in nanoseconds since 1970."""
        return self._started

    def end_profiling(self) -> str:
        """Write the trace of the calls so far, if `enable_profiling` is set; the file's name, or ""."""
        if not self._options.enable_profiling:
            return ""
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(self._started / 1e9))
        path = Path(f"{self._options.profile_file_prefix}_{stamp}.json")
        path.write_text(json.dumps(self._events), encoding="utf-8")
        return str(path)

    def _chosen(self, names: Sequence[str] | None) -> Sequence[str]:
        if isinstance(names, str) or not isinstance(names, Sequence | None):
            raise TypeError(f"output_names is a {type(names).__name__}; give a list of names, or None for all")
        for name in names or ():
            if name not in self._output_names:
                raise failures.InvalidArgument(f"Invalid output name:{name}")
        return names or self._output_names

    def _feed(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        given = list(feed.keys())
        missing = [name.name for name in self._inputs if name.name not in feed]
        if missing:
            raise ValueError(f"Required inputs ({missing}) are missing from input feed ({given}).")
        for name in given:
            if name not in self._input_names and name not in self._weights:
                raise failures.InvalidArgument(f"Invalid input name: {name}")
        specs = (*self.engine.inputs, *(spec for spec in self.engine.defaults if spec.name in feed))
        return {spec.name: _array(spec, feed[spec.name]) for spec in specs}

    def _with(self, weights: dict[str, Array]) -> Engine:
        """The engine with these weights: the last one made so, where they are the same."""
        if not weights:
            return self.engine
        known, engine = self._refitted
        if known.keys() != weights.keys() or any(known[name].tobytes() != weights[name].tobytes() for name in known):
            engine = self.engine.refit(weights)
            self._refitted = {name: array.copy() for name, array in weights.items()}, engine
        return engine

    def _call(self, engine: Engine, inputs: Mapping[str, Array], options: RunOptions | None) -> Mapping[str, Array]:
        if self._options.enable_profiling:
            with engine.context() as context, _terminable(options, context.cancel):
                profile = context.profile(inputs)
            with self._lock:
                self._events += profile.chrome_trace()["traceEvents"]
            return profile.outputs
        if options is None:
            return engine.run(inputs)
        with engine.context() as context, _terminable(options, context.cancel):
            return context.run(inputs)


@contextmanager
def _terminable(options: RunOptions | None, cancel: Callable[[], None]) -> Iterator[None]:
    """Within it, `options.terminate` ends the call."""
    if options is None:
        yield
        return
    if not isinstance(options, RunOptions):
        raise TypeError(f"run_options is a {type(options).__name__}; give RunOptions()")
    if options.terminate:
        raise failures.Fail("Exiting due to terminate flag being set to true.")
    options.running.append(cancel)
    try:
        yield
    finally:
        options.running.remove(cancel)


def _open(model: str | os.PathLike[str] | bytes, options: SessionOptions) -> Engine:
    if not isinstance(model, str | os.PathLike | bytes | bytearray | memoryview):
        raise TypeError(f"Unable to load from type '{type(model)}'")
    threads = options.intra_op_num_threads or None
    path = Path(model) if isinstance(model, str | os.PathLike) else None
    if path and not path.is_file():
        raise failures.NoSuchFile(f"Load model from {path} failed:Load model {path} failed. File doesn't exist")
    with failures.translated():
        if path and _is_engine(path):
            return tenfold.load(path, threads=threads)
        try:
            return tenfold.build(model, threads=threads, dims=options.dimensions or None, effort=options.effort)
        except ModelError as error:
            if error.argument == "model":
                raise failures.InvalidProtobuf(f"Load model failed: {error}") from error
            raise


def _is_engine(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _check_providers(providers: Sequence[Any]) -> None:
    for provider in (providers,) if isinstance(providers, str) else providers:
        name = provider if isinstance(provider, str) else provider[0] if isinstance(provider, Sequence) else provider
        if name != PROVIDER:
            warnings.warn(
                f"Specified provider '{name}' is not in available provider names.Available providers: '{PROVIDER}'",
                UserWarning,
                stacklevel=3,
            )


_UNKNOWN = re.compile(r"_\d+")


def _argument(spec: Spec) -> NodeArg:
    return NodeArg(spec.name, type_name(spec.dtype), [_size(size) for size in spec.shape])


def _size(size: int | str) -> int | str | None:
    """Sizes without a name of the model's own ("image.2", "_0"), and computed ones, are None."""
    return size if isinstance(size, int) or (size.isidentifier() and not _UNKNOWN.fullmatch(size)) else None


def _array(spec: Spec, given: Any) -> Any:
    """The array of an argument; lists take the declared dtype, as onnxruntime lets them."""
    if isinstance(given, OrtValue):
        return given.numpy()
    if spec.dtype.is_object:
        return given
    if isinstance(given, list | tuple):
        return np.asarray(given, spec.dtype.numpy)
    if isinstance(given, np.ndarray) and given.dtype != spec.dtype.numpy:
        raise failures.InvalidArgument(
            f"Unexpected input data type. Actual: (tensor({given.dtype})) , expected: ({type_name(spec.dtype)})"
        )
    return given
