"""The face of the package: adding or removing a name is a decision, made here too."""

from __future__ import annotations

import tenfold
import tenfold.errors

PUBLIC = {
    "build",
    "load",
    "generate",
    "stream",
    "ops",
    "pipeline",
    "torch",
    "Context",
    "Engine",
    "Graph",
    "Options",
    "Spec",
    "Target",
    "TenfoldError",
    "ModelError",
    "UnsupportedError",
    "OptionError",
    "TargetError",
    "EngineError",
    "InputError",
    "LimitError",
    "DeviceError",
    "OutOfMemory",
    "ExecutionError",
    "Cancelled",
    "__version__",
}


def test_public_names() -> None:
    assert set(tenfold.__all__) == PUBLIC
    assert set(dir(tenfold)) >= PUBLIC


def test_every_public_name_is_there() -> None:
    for name in tenfold.__all__:
        assert getattr(tenfold, name) is not None


def test_every_error_is_public() -> None:
    errors = {
        name
        for name, value in vars(tenfold.errors).items()
        if isinstance(value, type) and issubclass(value, tenfold.errors.TenfoldError)
    }
    assert errors <= PUBLIC
