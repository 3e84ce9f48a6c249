"""onnxruntime's own names, for programs that already use it.

>>> import tenfold.onnxruntime as onnxruntime       # instead of `import onnxruntime`
>>> session = onnxruntime.InferenceSession("model.onnx")
>>> session.run(None, {"x": array})

`install()` answers `import onnxruntime` itself with this package, for code that can't be edited.
"""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

from tenfold.onnxruntime import failures
from tenfold.onnxruntime.logs import (
    set_default_logger_callback,
    set_default_logger_severity,
    set_default_logger_verbosity,
)
from tenfold.onnxruntime.options import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    RunOptions,
    SessionOptions,
)
from tenfold.onnxruntime.session import PROVIDER, InferenceSession, ModelMetadata, NodeArg
from tenfold.onnxruntime.values import IOBinding, OrtValue
from tenfold.version import __version__ as _ours

__version__ = "1.32.0"
"""The version of onnxruntime whose names these are."""

version = __version__
package_name = "onnxruntime"
cuda_version = ""

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "cuda_version",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_version_string",
    "has_collective_ops",
    "install",
    "package_name",
    "set_default_logger_callback",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
    "uninstall",
    "version",
]

_log = logging.getLogger("tenfold")
_NAME = "onnxruntime"
_replaced: dict[str, ModuleType] = {}


def get_available_providers() -> list[str]:
    """What can run a model: the CPU."""
    return [PROVIDER]


def get_all_providers() -> list[str]:
    """What can run a model: the CPU."""
    return [PROVIDER]


def get_device() -> str:
    """Where models run: "CPU"."""
    return "CPU"


def get_version_string() -> str:
    """The version of onnxruntime whose names these are."""
    return __version__


def get_build_info() -> str:
    """What stands behind the names."""
    return f"Tenfold {_ours}, with the names of onnxruntime {__version__}"


def has_collective_ops() -> bool:
    """False: one process runs a model."""
    return False


def set_seed(seed: int) -> None:
    """Accepted and ignored: a model's random operators take the seeds that the model states."""
    _log.info("ignored: set_seed(%d)", seed)


def disable_telemetry_events() -> None:
    """Nothing to do: Tenfold tells nobody anything."""


def enable_telemetry_events() -> None:
    """Nothing to do: Tenfold tells nobody anything."""


def install() -> None:
    """Let `import onnxruntime` give this package in this process; modules that hold the real one keep it."""
    if sys.modules.get(_NAME) is sys.modules[__name__]:
        return
    _replaced.update(_taken_out())
    sys.modules.update(_MODULES)


def uninstall() -> None:
    """Let `import onnxruntime` give again what it gave before `install`."""
    if sys.modules.get(_NAME) is sys.modules[__name__]:
        _taken_out()
        sys.modules.update(_replaced)
        _replaced.clear()


def _taken_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == _NAME or name.startswith(f"{_NAME}.")]
    return {name: sys.modules.pop(name) for name in names}


def _module(name: str, **contents: Any) -> ModuleType:
    made = ModuleType(f"{_NAME}.{name}", "Names of onnxruntime's, answered by Tenfold.")
    vars(made).update(contents)
    return made


_names = {name: globals()[name] for name in __all__ if name not in ("install", "uninstall")}
_errors = {kind.__name__: kind for kind in failures.ALL}
_pybind_state = _module("capi.onnxruntime_pybind11_state", **_names, **_errors)
_collection = _module(
    "capi.onnxruntime_inference_collection", InferenceSession=InferenceSession, IOBinding=IOBinding, OrtValue=OrtValue
)
capi = _module(
    "capi",
    __path__=[],
    _pybind_state=_pybind_state,
    onnxruntime_pybind11_state=_pybind_state,
    onnxruntime_inference_collection=_collection,
)
_MODULES = {
    _NAME: sys.modules[__name__],
    f"{_NAME}.capi": capi,
    f"{_NAME}.capi._pybind_state": _pybind_state,
    f"{_NAME}.capi.onnxruntime_pybind11_state": _pybind_state,
    f"{_NAME}.capi.onnxruntime_inference_collection": _collection,
}
