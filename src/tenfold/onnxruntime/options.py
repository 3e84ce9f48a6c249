"""onnxruntime's options: those that mean something here, and those that are accepted and ignored, with the reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from tenfold.onnxruntime import failures
from tenfold.onnxruntime.logs import set_default_logger_severity
from tenfold.settings import EFFORT

EFFORT_ENTRY = "tenfold.effort"
_log = logging.getLogger("tenfold")


class GraphOptimizationLevel(Enum):
    """Accepted; a graph is always optimised in full."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(Enum):
    """Accepted; the plan's order is fixed when a model is built."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(Enum):
    """Accepted; the plan's order is fixed when a model is built."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


_DEFAULTS: Mapping[str, Any] = {
    "enable_cpu_mem_arena": True,
    "enable_mem_pattern": True,
    "enable_mem_reuse": True,
    "enable_profiling": False,
    "execution_mode": ExecutionMode.ORT_SEQUENTIAL,
    "execution_order": ExecutionOrder.DEFAULT,
    "graph_optimization_level": GraphOptimizationLevel.ORT_ENABLE_ALL,
    "inter_op_num_threads": 0,
    "intra_op_num_threads": 0,
    "log_severity_level": -1,
    "log_verbosity_level": 0,
    "logid": "",
    "optimized_model_filepath": "",
    "profile_file_prefix": "onnxruntime_profile_",
    "use_deterministic_compute": False,
    "use_per_session_threads": True,
}

IGNORED: Mapping[str, str] = {
    "enable_cpu_mem_arena": "each context has one block of memory, sized by the plan",
    "enable_mem_pattern": "memory is planned when a model is built",
    "enable_mem_reuse": "buffers share memory by their lifetimes",
    "execution_mode": "one call runs its steps in order, each on all its threads",
    "execution_order": "the plan's order is fixed when a model is built",
    "graph_optimization_level": "a graph is always optimised in full",
    "inter_op_num_threads": "there is one team of threads",
    "log_verbosity_level": "levels are those of Python's logging",
    "logid": "there is one logger, 'tenfold'",
    "optimized_model_filepath": "Engine.save writes what was built",
    "use_deterministic_compute": "results never depend on the number of threads",
    "use_per_session_threads": "there is one team of threads a process",
}
"""The options that are accepted and change nothing, each with the reason."""


def _typed(name: str, value: Any, default: Any) -> Any:
    wanted = type(default)
    if isinstance(value, wanted) or (wanted is bool and isinstance(value, int)):
        return wanted(value)
    raise TypeError(f"{name} takes {wanted.__name__}, not {type(value).__name__}")


class _Fields:
    """Named values with defaults; a name without one raises AttributeError."""

    _defaults: Mapping[str, Any]
    _values: dict[str, Any]

    def __init__(self) -> None:
        object.__setattr__(self, "_values", dict(self._defaults))

    def __getattr__(self, name: str) -> Any:
        if name in self._defaults:
            return self._values[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._defaults:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._values[name] = _typed(name, value, self._defaults[name])

    def __dir__(self) -> list[str]:
        return sorted([*super().__dir__(), *self._defaults])

    @property
    def changed(self) -> frozenset[str]:
        """The names of the fields that differ from their defaults."""
        return frozenset(name for name, value in self._values.items() if value != self._defaults[name])


class SessionOptions(_Fields):
    """How a session is made. `intra_op_num_threads` is the most threads a call uses (0: all), `enable_profiling` and
    `profile_file_prefix` write a Chrome trace, `log_severity_level` is the level of the logger 'tenfold'; the fields of
    `IGNORED` are accepted and change nothing. An unknown field raises AttributeError.
    """

    _defaults = _DEFAULTS
    dimensions: dict[str, int]
    entries: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "dimensions", {})
        object.__setattr__(self, "entries", {})

    @property
    def ignored(self) -> tuple[str, ...]:
        """What was set and changes nothing, sorted."""
        return tuple(sorted((self.changed & set(IGNORED)) | (set(self.entries) - {EFFORT_ENTRY})))

    @property
    def effort(self) -> int:
        """How long to look for faster kernels, 0 to 3: the entry "tenfold.effort", else TENFOLD_EFFORT."""
        stated = self.entries.get(EFFORT_ENTRY)
        return int(EFFORT.value() if stated is None else EFFORT.read(stated))

    def add_free_dimension_override_by_name(self, name: str, value: int) -> None:
        """Fix a named dimension of the model."""
        self.dimensions[name] = int(value)

    def add_free_dimension_override_by_denotation(self, denotation: str, value: int) -> None:
        """Accepted and ignored: dimensions are known by name here."""
        _log.info("ignored: the dimensions of denotation %r keep their sizes open", denotation)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Remembered; "tenfold.effort" is the effort of the build, every other one changes nothing."""
        if key == EFFORT_ENTRY and value not in ("0", "1", "2", "3"):
            raise failures.InvalidArgument(f"{EFFORT_ENTRY} must be 0, 1, 2 or 3, not {value!r}")
        self.entries[str(key)] = str(value)

    def get_session_config_entry(self, key: str) -> str:
        """What `add_session_config_entry` said; InvalidArgument if it said nothing."""
        if key not in self.entries:
            raise failures.InvalidArgument(f"Session config entry '{key}' does not exist")
        return self.entries[key]

    def add_provider(self, name: str, options: Mapping[str, str] | None = None) -> None:
        """Accepted and ignored: the one provider is the CPU."""
        _log.info("ignored: provider %r", name)

    def has_providers(self) -> bool:
        """False: the one provider is the CPU."""
        return False

    def register_custom_ops_library(self, path: str) -> None:
        """NotImplemented: the operators of a shared library cannot be taken apart."""
        raise failures.NotImplemented(f"{path}: operators compiled for onnxruntime cannot be imported")

    def add_initializer(self, name: str, value: Any) -> None:
        """NotImplemented: weights come with the model."""
        raise failures.NotImplemented(f"the initializer {name!r} must be in the model or beside it")

    def add_external_initializers(self, names: Sequence[str], values: Sequence[Any]) -> None:
        """NotImplemented: weights come with the model."""
        raise failures.NotImplemented(f"the initializers {', '.join(names)} must be in the model or beside it")

    def apply_log_level(self) -> None:
        """Let the logger follow `log_severity_level`, if it was set."""
        if self.log_severity_level >= 0:
            set_default_logger_severity(self.log_severity_level)


class RunOptions(_Fields):
    """How a call runs. Setting `terminate` ends the calls that run with these options, and refuses later ones, until it
    is set to False again; the rest is accepted and ignored.
    """

    _defaults: Mapping[str, Any] = {
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "only_execute_path_to_fetches": False,
        "terminate": False,
    }
    running: list[Callable[[], None]]
    entries: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "running", [])
        object.__setattr__(self, "entries", {})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "terminate" and value:
            for cancel in tuple(self.running):
                cancel()

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Accepted and ignored, but for being remembered."""
        self.entries[str(key)] = str(value)

    def get_run_config_entry(self, key: str) -> str:
        """What `add_run_config_entry` said; InvalidArgument if it said nothing."""
        if key not in self.entries:
            raise failures.InvalidArgument(f"Run config entry '{key}' does not exist")
        return self.entries[key]
