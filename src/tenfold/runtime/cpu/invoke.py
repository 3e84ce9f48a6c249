"""Native calls: a step table bound to its code, and one context's instances of it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenfold import settings
from tenfold.errors import LimitError
from tenfold.runtime import steps as table
from tenfold.runtime.cpu.arena import Arena
from tenfold.runtime.cpu.block import ABI_VERSION, MASK_BYTES, Call, Denormals, Profile, Record, Status
from tenfold.runtime.cpu.code import Code
from tenfold.runtime.cpu.team import Team
from tenfold.runtime.forks import enlist

YIELD_AFTER = 0.05
_GO_ON = -1
_YIELD = int(Status.YIELD)
_RELEASING = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_KEEPING = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class Executable:
    """The native calls of a plan: code with entries "dispatch" and "ticks", and checked tables. Immutable, shared.

    `slots` is the frame's size, `bases` the number of base addresses, `scratch` the bytes each thread needs.
    """

    def __init__(
        self,
        code: Code,
        entries: Mapping[str, int],
        steps: NDArray[np.int32],
        argmap: NDArray[np.int32],
        binds: NDArray[np.int64],
        *,
        slots: int,
        bases: int,
        scratch: int = 0,
    ) -> None:
        table.verify(steps, argmap, slots, code.size, binds, bases)
        self.code = code
        self.steps, self.argmap = np.ascontiguousarray(steps), np.ascontiguousarray(argmap)
        self.binds = np.ascontiguousarray(binds, np.int64).reshape(-1, 3)
        self.slots, self.bases = slots, bases
        self.stride = scratch + -scratch % 64
        self.arguments = max([1, *(int(row[3]) for row in steps if row[0] == table.Opcode.CALL)])
        self.tick_rate = code.tick_rate(entries["ticks"])
        self.enter, self.quick = entries.get("enter"), entries.get("quick")
        self.sizes = code.address + entries["sizes"] if "sizes" in entries else 0
        self.brief: Callable[[int, int], int] = _KEEPING(code.address + entries["dispatch"])
        self.long: Callable[[int, int], int] = _RELEASING(code.address + entries["dispatch"])


@dataclass(frozen=True)
class Timing:
    """One executed step of a profile: its index in the step table, its parts, start and length in seconds."""

    step: int
    parts: int
    start: float
    seconds: float


def late(seconds: float) -> LimitError:
    """The error for a call that took longer than it may."""
    return LimitError(
        f"the call takes more than {seconds:g} s",
        argument=settings.CALL_SECONDS.variable,
        remedy=f"unset {settings.CALL_SECONDS.variable}, or set it higher, if the model may take so long",
    )


class Invocation:
    """One context's instance of an executable: its frame, its bases, its scratch. One thread at a time may run it.

    `frame` (int64, `slots`) and `bases` (int64, addresses) are written by the caller before `run`, in place. `cancel`
    is an int64 array of one number that another thread sets to non-zero to end the call; it may be shared. `team` gives
    the process's team, asked for when the first run with more than one thread comes.
    """

    def __init__(
        self,
        executable: Executable,
        *,
        threads: int | None = 1,
        team: Callable[[], Team] | None = None,
        cancel: NDArray[np.int64] | None = None,
        denormals: Denormals = Denormals.KEEP,
    ) -> None:
        self.executable = executable
        self.frame = np.zeros(executable.slots, np.int64)
        self.bases = np.zeros(max(1, executable.bases), np.int64)
        self.cancel = np.zeros(1, np.int64) if cancel is None else cancel
        self.entries = 0
        self.patience: float = settings.CALL_SECONDS.value()
        self._args = np.zeros(executable.arguments, np.int64)
        self._masks = np.zeros(2 * MASK_BYTES, np.uint8)
        self._profile: NDArray[np.int64] | None = None
        self._scratch = Arena()
        self._threads, self._find_team = threads, team
        self._team: Team | None = None
        self._call = call = Call(version=ABI_VERSION, denormals=denormals, stride=executable.stride, threads=1)
        for name, array in (
            ("frame", self.frame),
            ("steps", executable.steps),
            ("argmap", executable.argmap),
            ("binds", executable.binds),
            ("bases", self.bases),
            ("args", self._args),
            ("cancel", self.cancel),
        ):
            setattr(call, name, array.ctypes.data)
        call.code, call.bind_count = executable.code.address, len(executable.binds)
        call.yield_ticks = int(YIELD_AFTER * executable.tick_rate)
        call.scratch = self._scratch.reserve(executable.stride)
        self._address = ctypes.addressof(call)
        self._attached = False

    def _attach(self) -> None:
        """Join the process's team: a job, and scratch for all of its lanes."""
        self._attached = True
        if self._threads == 1 or not self._find_team:
            return
        team = self._find_team()
        if team.lanes == 1:
            return
        enlist(self, Invocation.detach)
        self._team = team
        self._call.masks = self._masks.ctypes.data if team.holds else 0
        self._call.team, self._call.job = team.address, team.open_job()
        self._call.threads = min(self._threads or team.threads, team.threads)
        self._call.scratch = self._scratch.reserve(self.executable.stride * team.lanes)

    def detach(self) -> None:
        """Leave a team that a fork has left behind; the next run joins a new one."""
        self._team, self._attached = None, False
        self._call.threads, self._call.taken, self._call.home, self._call.held = 1, 0, 0, 0

    def run(self, brief: bool = False, start: int = 0) -> int:
        """Run from step `start` to the next END: Status.DONE, Status.CANCELLED, or a kernel's error, at `error_step`.

        `brief` keeps Python's global lock, for calls of under about 30 µs. `entries` counts how often native code was
        entered: once, and again after each 50 ms, when signals are looked at.
        """
        address = self.prepare()
        native = self.executable
        self.entries = 1
        status = (native.brief if brief else native.long)(address, start)
        return self.resume() if status == _YIELD else status

    def prepare(self) -> int:
        """Join the team if need be; the address of the call block."""
        if not self._attached:
            self._attach()
        return self._address

    def resume(self) -> int:
        """Go on after a YIELD to the end, as `run` does; LimitError if that takes longer than a call may."""
        status, end = _YIELD, time.monotonic() + self.patience
        while status == _YIELD:
            if time.monotonic() > end:
                raise late(self.patience)
            status = self.executable.long(self._address, _GO_ON)
            self.entries += 1
        return status

    @property
    def error_step(self) -> int:
        """The step whose kernel ended the last call with an error."""
        return int(self._call.error_step)

    @property
    def step(self) -> int:
        """The step at which the last entry into native code ended."""
        return int(self._call.step)

    def start_profile(self, capacity: int) -> None:
        """Record up to `capacity` executed CALL and COPY steps from the next run on."""
        words = ctypes.sizeof(Profile) // 8 + capacity * ctypes.sizeof(Record) // 8
        self._profile = np.zeros(words, np.int64)
        self._profile[0] = capacity
        self._call.profile = self._profile.ctypes.data

    def stop_profile(self) -> tuple[list[Timing], int]:
        """What was recorded, in order, and how many records did not fit."""
        profile, self._profile, self._call.profile = self._profile, None, 0
        if profile is None:
            return [], 0
        capacity, count = profile[:2].tolist()
        records = profile[2 : 2 + 4 * min(count, capacity)].reshape(-1, 4).tolist()
        rate, origin = self.executable.tick_rate, records[0][2] if records else 0
        timings = [
            Timing(step, parts, (start - origin) / rate, (end - start) / rate) for step, parts, start, end in records
        ]
        return timings, max(0, count - capacity)

    def close(self) -> None:
        """Give job and scratch back. The invocation may not run again."""
        if self._team:
            self._team.close_job(self._call.job)
            self._team = None
        self._scratch.close()
