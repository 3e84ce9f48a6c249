"""What onnxruntime says of its log, told to the logger 'tenfold' of Python's logging."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tenfold.onnxruntime import failures

Callback = Callable[[int, str, str, str, str], None]
"""(severity, category, log id, place in the code, message)."""

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_log = logging.getLogger("tenfold")


def set_default_logger_severity(level: int) -> None:
    """The least level that the logger 'tenfold' writes: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal."""
    _log.setLevel(_level(level))


def set_default_logger_verbosity(level: int) -> None:
    """Accepted and ignored: levels are those of Python's logging."""


def set_default_logger_callback(callback: Callback | None, severity: int = 2) -> None:
    """Give every message of at least `severity` to `callback(severity, category, log id, place, message)`.

    It is called on the thread that writes the message, in place of the one before; None takes it away and leaves the
    severity. Raises RuntimeError for what cannot be called, as onnxruntime does, and InvalidArgument for a severity
    that is not 0 to 4.
    """
    if callback is not None and not callable(callback):
        raise RuntimeError(f"a callback must be callable, or None, not {callback!r}")
    level = _level(severity)
    for handler in [one for one in _log.handlers if isinstance(one, _Told)]:
        _log.removeHandler(handler)
    if callback is not None:
        _log.addHandler(_Told(callback))
        _log.setLevel(level)


def _level(severity: int) -> int:
    if severity not in range(len(_LEVELS)):
        raise failures.InvalidArgument(f"a severity is 0 to 4, not {severity}")
    return _LEVELS[severity]


class _Told(logging.Handler):
    """Hands records to a callback; what that raises is logging's to report, as of any handler."""

    def __init__(self, callback: Callback) -> None:
        super().__init__()
        self._callback = callback

    def emit(self, record: logging.LogRecord) -> None:
        """Call the callback with what a record says."""
        severity = sum(record.levelno >= level for level in _LEVELS[1:])
        try:
            self._callback(severity, record.name, "", f"{record.pathname}:{record.lineno}", record.getMessage())
        except Exception:
            self.handleError(record)
