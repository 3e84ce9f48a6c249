"""The errors of onnxruntime, by its names, and which of Tenfold's each stands for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tenfold import errors


class Failure(Exception):
    """What all of onnxruntime's errors have: a number and a word, which begin the message."""

    number, word = 1, "FAIL"

    def __init__(self, message: str) -> None:
        super().__init__(f"[ONNXRuntimeError] : {self.number} : {self.word} : {message}")


class Fail(Failure):
    """A call failed, or was ended by `RunOptions.terminate`."""


class InvalidArgument(Failure):
    """An input or output is unknown, or an array has a wrong dtype or shape."""

    number, word = 2, "INVALID_ARGUMENT"


class NoSuchFile(Failure):
    """The model's file is not there."""

    number, word = 3, "NO_SUCHFILE"


class NoModel(Failure):
    """There is no model to run."""

    number, word = 4, "NO_MODEL"


class EngineError(Failure):
    """An engine file is damaged or foreign."""

    number, word = 5, "ENGINE_ERROR"


class RuntimeException(Failure):
    """A step failed while running, or memory ran out."""

    number, word = 6, "RUNTIME_EXCEPTION"


class InvalidProtobuf(Failure):
    """The bytes are no ONNX model."""

    number, word = 7, "INVALID_PROTOBUF"


class ModelLoaded(Failure):
    """A model is loaded already."""

    number, word = 8, "MODEL_LOADED"


class NotImplemented(Failure):
    """The model is valid, and this version of Tenfold cannot build it."""

    number, word = 9, "NOT_IMPLEMENTED"


class InvalidGraph(Failure):
    """The model breaks ONNX's specification."""

    number, word = 10, "INVALID_GRAPH"


class EPFail(Failure):
    """This machine cannot run the model."""

    number, word = 11, "EP_FAIL"


class ModelLoadCanceled(Failure):
    """Loading was cancelled."""

    number, word = 12, "MODEL_LOAD_CANCELED"


class ModelRequiresCompilation(Failure):
    """The model must be compiled first."""

    number, word = 13, "MODEL_REQUIRES_COMPILATION"


class NotFound(Failure):
    """Something asked for by name is not there."""

    number, word = 14, "NOT_FOUND"


class DeviceReset(Failure):
    """The device was reset under a call."""

    number, word = 15, "DEVICE_RESET"


ALL: tuple[type[Failure], ...] = (
    *(Fail, InvalidArgument, NoSuchFile, NoModel, EngineError, RuntimeException, InvalidProtobuf, ModelLoaded),
    *(NotImplemented, InvalidGraph, EPFail, ModelLoadCanceled, ModelRequiresCompilation, NotFound, DeviceReset),
)

_STANDS_FOR: tuple[tuple[type[errors.TenfoldError], type[Failure]], ...] = (
    (errors.InputError, InvalidArgument),
    (errors.OptionError, InvalidArgument),
    (errors.UnsupportedError, NotImplemented),
    (errors.ModelError, InvalidGraph),
    (errors.TargetError, EPFail),
    (errors.EngineError, EngineError),
    (errors.Cancelled, Fail),
    (errors.LimitError, RuntimeException),
    (errors.DeviceError, RuntimeException),
)


def failure_of(error: errors.TenfoldError) -> Failure:
    """The onnxruntime error that stands for one of Tenfold's, with its message."""
    kind = next((theirs for ours, theirs in _STANDS_FOR if isinstance(error, ours)), Fail)
    if isinstance(error, errors.Cancelled):
        return kind("Exiting due to terminate flag being set to true.")
    return kind(str(error))


@contextmanager
def translated() -> Iterator[None]:
    """Within it, Tenfold's errors leave as onnxruntime's."""
    try:
        yield
    except errors.TenfoldError as error:
        raise failure_of(error) from error
