"""The phases of a build, told to the caller's progress function and to the log, with why they take time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tenfold.errors import OptionError


def never() -> bool:
    """Nothing is to stop."""
    return False


Progress = Callable[[str, int, int], None]
_log = logging.getLogger("tenfold")

PHASES: Mapping[str, str] = {
    "import": "reads the model and turns its operators into ours",
    "passes": "simplifies the graph by its rules until none applies",
    "ways": "chooses between the ways in which a stretch may run: a batch in portions, attention by its kernel",
    "fuse": "takes composites apart and chooses an order in memory for each value",
    "kernels": "grows regions, and writes a kernel for each with the first strategy that takes it",
    "tune": "times kernels against each other on this machine, those apart that the timing cache knows",
    "compile": "lets LLVM turn kernels into machine code, those apart that are remembered from before",
    "link": "joins the code, plans memory, writes formulas of sizes, packs weights",
}
"""What each phase does, in order."""


class Phases:
    """Where a build is: `progress(phase, done, total)` is called as work goes on, and the log told of each phase. Once
    `stop()` is true, nothing more is timed. OptionError for a `progress` that is no function.
    """

    def __init__(self, progress: Progress | None, stop: Callable[[], bool] = never) -> None:
        if progress is not None and not callable(progress):
            remedy = "give a function of (phase, done, total), such as print, or leave it out"
            raise OptionError(f"progress is {progress!r}", argument="progress", remedy=remedy)
        self._progress, self.stop = progress, stop

    def tell(self, phase: str, done: int, total: int) -> None:
        """So many of so many things of a phase are done."""
        if self._progress:
            self._progress(phase, done, total)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[list[str]]:
        """A phase, from beginning to end; what is put into the list is said of it in the log."""
        _log.info("%s: %s", phase, PHASES[phase])
        self.tell(phase, 0, 1)
        start, said = time.perf_counter(), list[str]()
        yield said
        self.tell(phase, 1, 1)
        _log.info("%s: %.2f s%s", phase, time.perf_counter() - start, "".join(f", {one}" for one in said))
