"""Target: which machine an engine is for.

cpu                        this machine, at the best level it has
cpu:x86-64-v3              AVX2 and FMA
cpu:x86-64-v4              AVX-512 F, BW, CD, DQ, VL
cpu:x86-64-v4+vnni, +amx   with an extension (parsed; not built yet)
cpu:aarch64                Armv8-A with NEON
cuda                       this machine's NVIDIA GPU
cuda:sm_90                 an NVIDIA GPU of compute capability 9.0 (sm_80, sm_86, sm_89, sm_90, sm_100, sm_120)
cuda/cpu, cuda:sm_90/cpu   the same, and parts that are faster on the CPU beside it run there
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from tenfold.errors import OptionError, TargetError

_REQUIRED = {
    "x86-64-v3": frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}),
    "x86-64-v4": frozenset(
        {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
        | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    ),
    "aarch64": frozenset({"asimd", "fp"}),
}
_EXTRAS = {
    "x86-64-v3": {},
    "x86-64-v4": {
        "amx": frozenset({"amx_tile", "amx_int8", "amx_bf16"}),
        "bf16": frozenset({"avx512_bf16"}),
        "vnni": frozenset({"avx512_vnni"}),
    },
    "aarch64": {},
}
GPUS = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""The NVIDIA GPUs that code is generated for, by compute capability."""

_KNOWN = (
    *("cpu", *(f"cpu:{level}" for level in _REQUIRED), "cpu:x86-64-v4+vnni", "cpu:x86-64-v4+amx"),
    *("cuda", *(f"cuda:{level}" for level in GPUS), "cuda/cpu"),
)
_OTHER_NAMES = {
    **dict.fromkeys(("gpu", "nvidia", "tensorrt"), "cuda"),
    **dict.fromkeys(("a100", "a30", "ampere"), "cuda:sm_80"),
    **dict.fromkeys(("a10", "a40", "a6000"), "cuda:sm_86"),
    **dict.fromkeys(("l4", "l40", "l40s", "ada"), "cuda:sm_89"),
    **dict.fromkeys(("h100", "h200", "h20", "gh200", "hopper"), "cuda:sm_90"),
    **dict.fromkeys(("b200", "gb200", "blackwell"), "cuda:sm_100"),
    **dict.fromkeys(("x86", "x86-64", "x86_64", "amd64", "intel", "amd"), "cpu"),
    **dict.fromkeys(("avx2", "fma"), "cpu:x86-64-v3"),
    **dict.fromkeys(("avx512", "avx-512"), "cpu:x86-64-v4"),
    **dict.fromkeys(("arm", "arm64", "neon"), "cpu:aarch64"),
}
"""What is written for a target elsewhere, alone or behind "cuda:" or "cpu:"."""

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_ALONE = 90
"""The first compute capability whose code runs on no other."""
_OLDEST_DRIVER = 12000
"""What the driver calls its version: CUDA 12.0 brought tile descriptors and launches with attributes."""


@functools.cache
def machine_flags() -> frozenset[str]:
    """The CPU features the kernel reports for this machine, in /proc/cpuinfo's words; empty where it has none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return frozenset()
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


@functools.cache
def machine_gpu() -> int | None:
    """The compute capability of this machine's first NVIDIA GPU, as in sm_90; None where there is none to use."""
    found = _look_for_gpu()
    return found if isinstance(found, int) else None


def _look_for_gpu(name: str = "libcuda.so.1") -> int | str:
    """The compute capability of the first GPU that the driver shows, or why it shows none."""
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"this machine has no NVIDIA GPU, or not its driver ({name})"
    number, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(number)) == 0 and number.value < _OLDEST_DRIVER:
        here, needed = (f"{one // 1000}.{one % 1000 // 10}" for one in (number.value, _OLDEST_DRIVER))
        return f"this machine's NVIDIA driver is one of CUDA {here}, and {needed} is the oldest that will do"
    failed = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(number), 0)
    for attribute, part in ((_MAJOR, major), (_MINOR, minor)):
        failed = failed or driver.cuDeviceGetAttribute(ctypes.byref(part), attribute, number)
    if not failed:
        return major.value * 10 + minor.value
    words = ctypes.c_char_p()
    driver.cuGetErrorString(failed, ctypes.byref(words))
    return f"this machine's NVIDIA driver says: {(words.value or b'').decode() or f'error {failed}'}"


@dataclass(frozen=True, order=True)
class Target:
    """One machine to build for. `native` marks "cpu" and "cuda": this machine's own level.

    `kind` is "cpu" or "cuda", `level` the instruction-set level ("" for "cuda" where there is no GPU), `extras` the
    extensions asked for by name, sorted. `beside` is the CPU, if one is named, that a GPU shares its work with.
    """

    kind: str
    level: str
    extras: tuple[str, ...] = ()
    native: bool = False
    beside: tuple[Target, ...] = ()

    @staticmethod
    def parse(text: str | Target | Iterable[str | Target]) -> tuple[Target, ...]:
        """The targets a text names, a comma between two; or of a sequence of them. TargetError for an unknown one."""
        if isinstance(text, Target):
            return (text,)
        if isinstance(text, str):
            found = tuple(_parse_one(word.strip()) for word in text.split(","))
        elif isinstance(text, Iterable):
            found = tuple(target for item in text for target in Target.parse(item))
        else:
            raise TargetError(f"target is a {type(text).__name__}", argument="target", remedy="name one, such as 'cpu'")
        if not found:
            raise TargetError("target names no machine", argument="target", remedy="name one, such as 'cpu'")
        return tuple(dict.fromkeys(found))

    @staticmethod
    def host() -> Target:
        """This machine; TargetError if no level of ours describes it."""
        if sys.platform != "linux":
            raise TargetError(
                f"CPU engines run on Linux; this system is {sys.platform}", remedy="build and run on Linux"
            )
        machine = platform.machine()
        levels = {"x86_64": ("x86-64-v4", "x86-64-v3"), "aarch64": ("aarch64",)}.get(machine, ())
        for level in levels:
            if _REQUIRED[level] <= machine_flags():
                return Target("cpu", level, native=True)
        raise TargetError(
            f"this machine ({machine}) has none of the levels {', '.join(_REQUIRED)}",
            remedy="use a CPU with AVX2 and FMA, or AArch64",
        )

    def __str__(self) -> str:
        level = "" if self.native else (f":{self.level}" if self.level else "")
        extras = "" if self.native else "".join(f"+{extra}" for extra in self.extras)
        return self.kind + level + extras + "".join(f"/{one}" for one in self.beside)

    @property
    def cpu(self) -> Target:
        """The CPU that runs what a GPU has no code for: the one that is named, this machine's for "cuda", else any."""
        if self.kind == "cpu":
            return self
        if self.beside:
            return self.beside[0]
        return Target.host() if self.native else Target("cpu", "x86-64-v3")

    @property
    def portable(self) -> Target:
        """The same target by its level's name: what an engine file says it needs."""
        return Target(self.kind, self.level, self.extras)

    def refusal(self) -> str | None:
        """Why this machine cannot run code for this target, or None if it can."""
        if self.kind == "cuda":
            return _gpu_refusal(self)
        architecture = "aarch64" if self.level == "aarch64" else "x86_64"
        if sys.platform != "linux":
            return f"target {self}: CPU engines run on Linux; this system is {sys.platform}"
        if platform.machine() != architecture:
            return f"target {self} needs a machine of kind {architecture}; this one is {platform.machine()}"
        needed = _REQUIRED[self.level].union(*(_EXTRAS[self.level][extra] for extra in self.extras))
        missing = sorted(needed - machine_flags())
        return f"target {self} needs CPU features this machine lacks: {', '.join(missing)}" if missing else None

    def runs_here(self) -> bool:
        """Whether this machine can run code for this target; `refusal` says why not."""
        return self.refusal() is None

    def require_buildable(self) -> None:
        """TargetError for a machine that there is no code for, OptionError for an extension that is not used yet."""
        if self.kind == "cuda" and self.level not in GPUS:
            problem = f"no code is generated for {self.level}" if self.level else str(_look_for_gpu())
            known = ", ".join(f"cuda:{level}" for level in GPUS)
            raise TargetError(f"target {self}: {problem}", argument="target", remedy=f"name one of {known}")
        if self.extras:
            raise OptionError(
                f"target {self}: the extension {'+'.join(self.extras)} is not used yet",
                argument="target",
                remedy=f"build for {Target(self.kind, self.level)}",
            )


def _gpu_refusal(target: Target) -> str | None:
    """Why this machine's GPU cannot run code for `target`: code up to sm_89 runs on later minor capabilities, too, and
    what is newer uses instructions of its own capability alone (sm_90a, sm_100a, sm_120a).
    """
    here = machine_gpu()
    if here is None:
        return f"target {target} needs an NVIDIA GPU and its driver; {_look_for_gpu()}"
    needed = int(target.level.removeprefix("sm_") or 0)
    runs = needed // 10 == here // 10 and needed <= here if needed < _ALONE else needed == here
    if not runs:
        return f"target {target} needs a GPU of that kind; this machine's is sm_{here}"
    return None


def _parse_one(word: str) -> Target:
    first, slash, second = word.partition("/")
    if slash:
        gpu, cpu = _parse_one(first.strip()), _parse_one(second.strip())
        if (gpu.kind, cpu.kind) != ("cuda", "cpu"):
            raise TargetError(
                f"no such target: {word!r}", argument="target", remedy="name a GPU, then a CPU: 'cuda/cpu'"
            )
        return replace(gpu, beside=(cpu,))
    if word == "cpu":
        return Target.host()
    if word == "cuda":
        here = machine_gpu()
        return Target("cuda", f"sm_{here}" if here else "", native=True)
    kind, _, rest = word.partition(":")
    if kind == "cuda" and (not rest or (rest.startswith("sm_") and rest[3:].isdigit())):
        return Target("cuda", rest)
    level, *extras = rest.split("+")
    if kind != "cpu" or level not in _REQUIRED or any(extra not in _EXTRAS[level] for extra in extras):
        meant = _OTHER_NAMES.get(word.lower().removeprefix("cuda:").removeprefix("cpu:"))
        close = [meant] if meant else get_close_matches(word.lower(), _KNOWN, 1)
        raise TargetError(
            f"no such target: {word!r}",
            argument="target",
            remedy=f"did you mean {close[0]!r}?" if close else "use one of " + ", ".join(_KNOWN),
        )
    return Target("cpu", level, tuple(sorted(set(extras))))
