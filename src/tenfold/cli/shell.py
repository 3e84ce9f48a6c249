"""What every verb shares: exit codes, answers on standard output, progress and messages on standard error."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tenfold import errors
from tenfold import settings as environment

PIPE_WIDTH = 160
_SOON = 0.05
"""Seconds until an interrupt comes again that was dropped."""
OK, DIFFERS, USAGE, MODEL, UNSUPPORTED, ENGINE, INPUT, DEVICE, LIMIT, INTERRUPTED = (*range(9), 130)

_CODES: tuple[tuple[type[errors.TenfoldError], int], ...] = (
    (errors.OptionError, USAGE),
    (errors.ModelError, MODEL),
    (errors.UnsupportedError, UNSUPPORTED),
    (errors.TargetError, UNSUPPORTED),
    (errors.EngineError, ENGINE),
    (errors.InputError, INPUT),
    (errors.DeviceError, DEVICE),
    (errors.LimitError, LIMIT),
)


def code_of(error: errors.TenfoldError) -> int:
    """The exit code that stands for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), DEVICE)


def screen() -> Console:
    """Standard output; what is no terminal has long lines."""
    console = Console(file=sys.stdout, highlight=False)
    return console if console.is_terminal else Console(file=sys.stdout, highlight=False, width=PIPE_WIDTH)


def margin() -> Console:
    """Standard error: messages and progress."""
    return Console(file=sys.stderr, highlight=False)


def answer(data: Mapping[str, Any], *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Write a verb's answer: one JSON object, or what `show` draws."""
    if as_json:
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        show(screen())
    sys.stdout.flush()


def tell_error(error: Exception, *, as_json: bool) -> None:
    """Write an error: on standard error, and as a JSON object on standard output if that was asked for."""
    margin().print(f"error: {error}", style="red", markup=False)
    for note in getattr(error, "__notes__", ()):
        margin().print(f"  {note}", markup=False)
    if as_json:
        about = {"type": type(error).__name__, "message": getattr(error, "message", str(error))}
        about |= {field: getattr(error, field, None) for field in ("operator", "argument", "remedy")}
        with suppress(OSError):  # nobody reads it, or no room is left: standard error has it
            sys.stdout.write(json.dumps({"error": about}) + "\n")
            sys.stdout.flush()


def set_logging(verbose: int) -> None:
    """Let the logger 'tenfold' write to standard error: at TENFOLD_LOG's level, INFO by -v, DEBUG by -vv."""
    logger = logging.getLogger("tenfold")
    logger.handlers = [RichHandler(console=margin(), show_path=False, markup=False, log_time_format="%H:%M:%S")]
    logger.propagate = False
    logger.setLevel((environment.LOG.value(), "INFO", "DEBUG")[min(verbose, 2)])


@contextmanager
def ending_at_interrupt() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C asks to come to an end: what it gives is true from then on. A second one ends the program."""
    asked = threading.Event()

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)
        margin().print("ending with what has been won; Ctrl-C again ends at once", markup=False)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def heeding_interrupts() -> Iterator[None]:
    """Within it, Ctrl-C ends the program also where Python drops the exception, as in what it calls when an object
    goes: then the signal comes once more.
    """
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            before(dropped)
            return
        again = threading.Timer(_SOON, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Within it, a bar for each phase that is told of by (phase, done, total), if standard error is a screen. What
    stands behind a comma in a phase's name is news of it, such as what tuning has won.
    """
    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = margin()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def tell(phase: str, done: int, total: int) -> None:
            name = phase.partition(",")[0]
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], description=phase, completed=done, total=total)

        yield tell
