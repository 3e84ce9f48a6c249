"""Every exception Tenfold raises.

    TenfoldError
    ├── ModelError        the model file is damaged, or breaks its own specification
    ├── UnsupportedError  the model is valid, and this version cannot build it
    ├── OptionError       an option of the build is unknown, or cannot hold here (a ValueError)
    ├── TargetError       no such target, or this machine cannot run the engine
    ├── EngineError       an engine file is damaged, foreign, or of another version
    ├── InputError        an array of a call is missing, or has a wrong dtype or shape (a ValueError)
    ├── LimitError        a stated limit would be exceeded (memory, steps, sizes)
    └── DeviceError       the machine refused or failed
        ├── OutOfMemory
        ├── ExecutionError    a step of the engine failed
        └── Cancelled         the call was cancelled

A message says what was expected, what came, and what to do about it.
"""

from __future__ import annotations


class TenfoldError(Exception):
    """The root of all Tenfold's errors.

    `operator` names the operator of the user's model, `argument` the argument of the user's call
    (either may be None), and `remedy` says what to do; the remedy ends the message.
    """

    def __init__(
        self, message: str, *, operator: str | None = None, argument: str | None = None, remedy: str | None = None
    ) -> None:
        self.message = message
        self.operator = operator
        self.argument = argument
        self.remedy = remedy
        super().__init__(message)

    def __str__(self) -> str:
        where = f"{self.operator}: " if self.operator and self.operator not in self.message else ""
        advice = f"\n  remedy: {self.remedy}" if self.remedy else ""
        return f"{where}{self.message}{advice}"

    def __reduce__(self) -> tuple[object, ...]:
        fields = {"operator": self.operator, "argument": self.argument, "remedy": self.remedy}
        return _rebuild, (type(self), self.message, fields)


def _rebuild(kind: type[TenfoldError], message: str, fields: dict[str, str | None]) -> TenfoldError:
    return kind(message, **fields)


class ModelError(TenfoldError):
    """The model is damaged, or breaks the specification it is written to."""


class UnsupportedError(TenfoldError):
    """The model is valid, and this version of Tenfold cannot build it."""


class OptionError(TenfoldError, ValueError):
    """An option of the build is unknown, or cannot hold for this model or target."""


class TargetError(TenfoldError):
    """There is no such target, or this machine cannot run code for it."""


class EngineError(TenfoldError):
    """An engine file is damaged, foreign, or written by an incompatible version."""


class InputError(TenfoldError, ValueError):
    """An array given to a call is missing, or has a wrong dtype, shape or place."""


class LimitError(TenfoldError):
    """A stated limit would be exceeded."""


class DeviceError(TenfoldError):
    """The machine refused a request or failed to carry it out."""


class OutOfMemory(DeviceError):
    """The device has too little free memory."""


class ExecutionError(DeviceError):
    """A step of the engine failed while running."""


class Cancelled(DeviceError):
    """The call was cancelled before it ended."""
