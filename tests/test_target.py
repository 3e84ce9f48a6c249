"""Targets: parsing, printing, what this machine can run, what this version can build."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold import target as target_module
from tenfold.errors import OptionError, TargetError
from tenfold.target import Target

NAMES = ["cpu", "cpu:x86-64-v3", "cpu:x86-64-v4", "cpu:x86-64-v4+amx", "cpu:aarch64", "cuda", "cuda:sm_90"]


@pytest.mark.parametrize("name", NAMES)
def test_names_round_trip(name: str) -> None:
    (target,) = Target.parse(name)
    assert str(target) == name
    assert Target.parse(target) == (target,)
    assert hash(target) == hash(Target.parse(name)[0])


def test_extensions_are_a_set() -> None:
    assert Target.parse("cpu:x86-64-v4+vnni+amx") == Target.parse("cpu:x86-64-v4+amx+vnni+amx")


def test_commas_and_sequences_make_several() -> None:
    several = Target.parse("cpu:x86-64-v3, cpu:aarch64")
    assert [str(target) for target in several] == ["cpu:x86-64-v3", "cpu:aarch64"]
    assert Target.parse(["cpu:x86-64-v3", several[1], "cpu:x86-64-v3"]) == several


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        *(("cpu:x86-64-v5", "cpu:x86-64-v4"), ("gpu", "cuda"), ("cpu:x86-64-v3+amx", ""), ("cuda:90", ""), ("", "")),
        *(("cuda:H100", "'cuda:sm_90'"), ("cpu:avx512", "'cpu:x86-64-v4'"), ("NVIDIA", "'cuda'"), ("arm64", "aarch64")),
    ],
)
def test_an_unknown_target_is_refused_with_advice(name: str, advice: str) -> None:
    with pytest.raises(TargetError, match="no such target") as caught:
        Target.parse(name)
    assert advice in str(caught.value.remedy)


@pytest.mark.parametrize("given", [[], None, 3])
def test_what_names_no_target_is_refused(given: Any) -> None:
    with pytest.raises(TargetError):
        Target.parse(given)


def test_this_machine_runs_its_own_level() -> None:
    host = Target.host()
    assert host.native
    assert host.runs_here()
    assert host.portable.runs_here()
    assert not host.portable.native
    assert str(host.portable) == f"cpu:{host.level}"


def test_what_this_machine_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module, "machine_flags", lambda: frozenset({"avx2", "fma", "bmi1", "bmi2", "f16c"}))
    monkeypatch.setattr(target_module.platform, "machine", lambda: "x86_64")
    assert (
        Target("cpu", "x86-64-v3").refusal() == "target cpu:x86-64-v3 needs CPU features this machine lacks: abm, movbe"
    )
    assert "aarch64" in str(Target("cpu", "aarch64").refusal())
    with pytest.raises(TargetError, match="none of the levels"):
        Target.host()


def test_what_cannot_be_built_yet_is_refused() -> None:
    for name in NAMES:
        (target,) = Target.parse(name)
        if target.kind == "cuda" and not target.level:
            with pytest.raises(TargetError, match="no NVIDIA GPU"):
                target.require_buildable()
        elif target.extras:
            with pytest.raises(OptionError, match="amx"):
                target.require_buildable()
        else:
            target.require_buildable()


RUNS = {80: "80", 86: "80 86", 89: "80 86 89", 90: "90", 100: "100", 103: "", 120: "120", 121: "", 75: "", None: ""}


@pytest.mark.parametrize("here", RUNS)
def test_which_gpus_run_which_code(monkeypatch: pytest.MonkeyPatch, here: int | None) -> None:
    """Code up to sm_89 runs on later minor capabilities, too."""
    monkeypatch.setattr(target_module, "machine_gpu", lambda: here)
    found = [level for level in target_module.GPUS if Target("cuda", level).runs_here()]
    assert found == [f"sm_{number}" for number in RUNS[here].split()]


def test_a_gpu_without_a_generator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match="no code is generated for sm_70"):
        Target.parse("cuda:sm_70")[0].require_buildable()
    monkeypatch.setattr(target_module, "machine_gpu", lambda: 90)
    (target,) = Target.parse("cuda")
    assert (str(target), str(target.portable)) == ("cuda", "cuda:sm_90")


class Driver:
    """What ctypes loads as the NVIDIA driver, of one version, with one answer to cuInit."""

    def __init__(self, version: int, status: int = 0) -> None:
        self._version, self._status = version, status

    def cuDriverGetVersion(self, number: Any) -> int:
        number._obj.value = self._version
        return 0

    def cuInit(self, flags: int) -> int:
        return self._status

    def cuDeviceGet(self, device: Any, number: int) -> int:
        return 0

    def cuDeviceGetAttribute(self, number: Any, attribute: int, device: Any) -> int:
        number._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuGetErrorString(self, status: int, words: Any) -> int:
        words._obj.value = b"system has unsupported display driver"
        return 0


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (None, "not its driver (libcuda.so.1)"),
        (Driver(11040), "driver is one of CUDA 11.4, and 12.0 is the oldest"),
        (Driver(13000, 803), "driver says: system has unsupported display driver"),
        (Driver(13000), None),
    ],
)
def test_a_driver_that_is_missing_old_or_broken(
    monkeypatch: pytest.MonkeyPatch, driver: Driver | None, reason: str | None
) -> None:
    def load(name: str) -> Driver:
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(target_module.ctypes, "CDLL", load)
    monkeypatch.setattr(target_module, "machine_gpu", target_module.machine_gpu.__wrapped__)
    refusal = Target("cuda", "sm_90").refusal()
    assert refusal is None if reason is None else refusal is not None and reason in refusal
