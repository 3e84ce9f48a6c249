"""Every environment variable Tenfold reads. Nothing else in the package looks at the environment.

A setting changes where and how fast things happen, never a result: what changes results is an option.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.errors import OptionError


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def _microseconds(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 1_000_000:
        raise ValueError("must be from 0 to 1000000")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError("must be above 0")
    return value


def _effort(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 3:
        raise ValueError("must be from 0 to 3")
    return value


def _switch(text: str) -> bool:
    choices = {"on": True, "1": True, "yes": True, "off": False, "0": False, "no": False}
    if text.lower() not in choices:
        raise ValueError("must be 'on' or 'off'")
    return choices[text.lower()]


def _pinning(text: str) -> bool | tuple[int, ...]:
    if text[0].isdigit() and text not in "01":
        spans = [span.partition("-")[::2] for span in text.split(",")]
        return tuple(sorted({cpu for low, high in spans for cpu in range(int(low), int(high or low) + 1)}))
    return _switch(text)


def _folder(text: str) -> Path | None:
    return None if text.lower() in ("off", "0", "no") else Path(text).expanduser()


def _level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise ValueError(f"must be one of {', '.join(levels)}")
    return text.upper()


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tenfold"


@dataclass(frozen=True)
class Setting:
    """One environment variable: its name, how its text is read, its value when unset, what it is for."""

    variable: str
    read: Callable[[str], Any]
    default: Callable[[], Any]
    meaning: str

    def value(self, environment: Mapping[str, str] | None = None) -> Any:
        """The setting's value in `environment` (this process's if None); OptionError if its text is no value."""
        text = (os.environ if environment is None else environment).get(self.variable, "").strip()
        if not text:
            return self.default()
        try:
            return self.read(text)
        except ValueError as error:
            raise OptionError(
                f"{self.variable}={text!r}: {error}", argument=self.variable, remedy=f"unset it; it is {self.meaning}"
            ) from error


THREADS = Setting(
    "TENFOLD_THREADS", _count, lambda: None, "the most CPUs this process's calls use (unset: all it may use)"
)
PIN = Setting(
    "TENFOLD_PIN", _pinning, lambda: True, "'on' to pin each worker to a CPU, 'off' not to, or the CPUs to use: '4-7,9'"
)
SPIN = Setting(
    "TENFOLD_SPIN_US",
    _microseconds,
    lambda: 50,
    "how many microseconds a worker waits busily after a call before it sleeps (between stages at most 20)",
)
CALL_SECONDS = Setting(
    "TENFOLD_CALL_SECONDS",
    _seconds,
    lambda: math.inf,
    "the most seconds that a call may take before it ends with a LimitError, looked at every 50 ms (unset: any)",
)
CACHE = Setting("TENFOLD_CACHE", _folder, _default_cache, "the folder for built engines and machine code, or 'off'")
LOG = Setting("TENFOLD_LOG", _level, lambda: "WARNING", "the least level that the 'tenfold' logger writes")
EFFORT = Setting(
    "TENFOLD_EFFORT",
    _effort,
    lambda: 0,
    "how long sessions of tenfold.onnxruntime look for faster kernels: 0 (start at once) to 3",
)
TENSORFLOW = Setting(
    "TENFOLD_TENSORFLOW",
    lambda text: Path(text).expanduser(),
    lambda: None,
    "the Python with tensorflow and tf2onnx that SavedModels come in by (unset: this one)",
)

TABLE: tuple[Setting, ...] = (THREADS, PIN, SPIN, CALL_SECONDS, CACHE, LOG, EFFORT, TENSORFLOW)


def child_environment(package_root: Path) -> dict[str, str]:
    """This process's environment for a Python child that must find the package under `package_root` first."""
    paths = [str(package_root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
