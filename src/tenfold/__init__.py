"""Tenfold: a trained network in, one file of machine code out.

>>> import tenfold
>>> engine = tenfold.build("model.onnx")
>>> answer = engine(image)
>>> engine.save("model.tenfold")
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tenfold.errors import (
    Cancelled,
    DeviceError,
    EngineError,
    ExecutionError,
    InputError,
    LimitError,
    ModelError,
    OptionError,
    OutOfMemory,
    TargetError,
    TenfoldError,
    UnsupportedError,
)
from tenfold.version import __version__

if TYPE_CHECKING:
    from tenfold import ops
    from tenfold.compiler.build import build
    from tenfold.ir.graph import Graph
    from tenfold.options import Options
    from tenfold.runtime.context import Context
    from tenfold.runtime.engine import Engine, load
    from tenfold.runtime.generation import generate, stream
    from tenfold.runtime.plan import Spec
    from tenfold.target import Target

_HOMES = {
    "build": "tenfold.compiler.build",
    "generate": "tenfold.runtime.generation",
    "load": "tenfold.runtime.engine",
    "stream": "tenfold.runtime.generation",
    "Context": "tenfold.runtime.context",
    "Engine": "tenfold.runtime.engine",
    "Graph": "tenfold.ir.graph",
    "Options": "tenfold.options",
    "Spec": "tenfold.runtime.plan",
    "Target": "tenfold.target",
}

_MODULES = ("ops", "pipeline", "torch")

__all__ = [
    "Cancelled",
    "Context",
    "DeviceError",
    "Engine",
    "EngineError",
    "ExecutionError",
    "Graph",
    "InputError",
    "LimitError",
    "ModelError",
    "OptionError",
    "Options",
    "OutOfMemory",
    "Spec",
    "Target",
    "TargetError",
    "TenfoldError",
    "UnsupportedError",
    "__version__",
    "build",
    "generate",
    "load",
    "ops",
    "pipeline",
    "stream",
    "torch",
]


def __getattr__(name: str) -> Any:
    """Names are loaded when first used, so that running an engine loads no compiler."""
    if name in _MODULES:
        return import_module(f"tenfold.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tenfold' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
