"""The blocks that Python, the dispatcher and the team's workers share; generated code takes field offsets from here.

Every field is 8 bytes. A change of layout or meaning is a new ABI_VERSION; engines of one version share one team.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum

ABI_VERSION = 4
RESERVED = 1
LATER = 1 << 62
KERNEL_ERROR = 16


class Status(IntEnum):
    """What `dispatch` returns; numbers from KERNEL_ERROR on come from a kernel."""

    DONE = 0
    YIELD = 1
    CANCELLED = 2


class Denormals(IntEnum):
    """What arithmetic does with subnormal numbers during a call."""

    KEEP = 0
    FLUSH = 1


def _words(text: str) -> list[tuple[str, type[ctypes.c_int64]]]:
    return [(name, ctypes.c_int64) for name in text.split()]


class Call(ctypes.Structure):
    """One context's instance of one native call.

    Addresses: frame, steps, argmap, code, binds (rows of 3), bases, args, scratch, job (0: no team), team, cancel (a
    64-bit flag), profile (0: off), masks (two CPU masks: the calling thread's own, and that of the one CPU where it is
    held while workers help; 0: it is not held). Numbers:
    version, bind_count, stride (bytes of scratch a thread), threads (the most to use, caller included), denormals,
    yield_ticks. State: step (where it stopped), error_step, taken (workers held), home (the CPU whose own worker is
    held back, plus 1), since (the clock's ticks when it took workers, LATER once it has tried to be held), held (bytes
    of the mask to give the calling thread back, or 0).
    """

    _fields_ = _words(
        "version frame steps argmap code binds bind_count bases args scratch stride job team threads"
        " cancel profile denormals yield_ticks step error_step taken home since masks held"
    )


class Job(ctypes.Structure):
    """The stage a call has posted. The first line describes it and is read only after claiming a part: `lanes` take
    part, each gets `each` parts, the first `extra` of them one more. `finished` counts parts over all epochs, `waiting`
    says that the caller sleeps on it, `status` is the greatest status of a part, `epoch` numbers what was posted,
    `system` is the address of libc's `syscall`. A Lane for each thread of the team follows.
    """

    _fields_ = _words(
        "entry args scratch stride denormals lanes each extra finished waiting status epoch system pad0 pad1 pad2"
    )


class Lane(ctypes.Structure):
    """A thread's own parts of a posted stage: `word` is {epoch: 32, unclaimed parts: 32}. Then the address of its job,
    its number among the lanes (the caller's is 0), and, in a line of the caller's, the worker whose lane it is.
    """

    _fields_ = _words("word job number pad0 pad1 pad2 pad3 pad4 worker")


class Worker(ctypes.Structure):
    """One worker's place. `inbox` is the lane it serves, 0 for none, or RESERVED when a caller runs on its CPU;
    `asleep` (32 bits) is the futex it sleeps on; `cpu` is where it is pinned, -1 if it isn't; `mask` is the address of
    its CPU mask or 0; `affinity` is the system's answer to pinning; `node` is the NUMA node of its CPU, 0 if it isn't
    pinned.
    """

    _fields_ = _words("inbox asleep team index cpu mask affinity started node")


class Team(ctypes.Structure):
    """All workers of a process: the address of the first place, how many, and how many ticks a worker spins between the
    stages of a call and after one, the address of libc's `syscall`, and how many NUMA nodes the workers run on.
    """

    _fields_ = _words("version size workers spin_between spin_after system nodes")


class Profile(ctypes.Structure):
    """The head of a profile buffer: room for `capacity` records, `count` written or lost. A Record follows for each."""

    _fields_ = _words("capacity count")


class Record(ctypes.Structure):
    """One executed CALL or COPY: its step, its parts, and the clock's ticks at its start and end."""

    _fields_ = _words("step parts start end")


MASK_BYTES = 128
JOB_SIZE, LANE_SIZE = 128, 128
WORKER_SIZE = 128


MISS = -1
ARRAY = {"type": 8, "data": 16, "axes": 24, "shape": 32, "dtype": 56, "flags": 64, "order": 26, "number": 28}


class Shortcut(ctypes.Structure):
    """What the native way in knows of one kind of call. CPython's PyMethodDef is first (name, code, convention, doc).

    Addresses: kind (numpy.ndarray), rows (an Expected for each of `count` arguments), frame and the `slots` values kept
    for it, call; of CPython's functions: save and restore (0 to keep the global lock), number (int from a C long).
    """

    _fields_ = _words("name code convention doc kind count rows frame kept slots call start save restore number")


class Expected(ctypes.Structure):
    """What one argument must be: NumPy's dtype number, the flags it must have, its rank and the address of its shape;
    the first `watched` bytes must equal those at `contents`. Its address goes to `base`.
    """

    _fields_ = _words("number flags axes shape watched contents base pad")

    @classmethod
    def size(cls) -> int:
        """Bytes of one row."""
        return ctypes.sizeof(cls)


class Quick(ctypes.Structure):
    """A whole call as one built-in function, results made on the way. CPython's PyMethodDef is first, as in Shortcut.

    Addresses: shortcut (its Shortcut), made (an array of each of `results`), rows (a Made for each of them), keys (the
    input's names, where the argument is one dict and so is the answer; 0: arrays in order), found (room for the arrays
    found by those names), dict (Python's type); of CPython's functions: increment and decrement (of a count of
    references), size, get, set and new_dict, new_tuple and put; of NumPy's: empty. `none` is Python's None.
    """

    _fields_ = _words(
        "name code convention doc shortcut results made rows keys found dict none"
        " increment decrement size get set new_dict new_tuple put empty"
    )


class Made(ctypes.Structure):
    """A result to be made: the address of its shape, its rank, its dtype, the base that gets its address, its name."""

    _fields_ = _words("shape axes dtype base name")

    @classmethod
    def size(cls) -> int:
        """Bytes of one row."""
        return ctypes.sizeof(cls)
