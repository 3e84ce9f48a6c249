"""Tensors that a model keeps in files beside it: which files it may name, and how their bytes become arrays.

A file must lie within the model's folder, links followed, and have no other name (a hard link may show a file from
anywhere). Who passes `data_root` vouches for that folder instead, which may be wider than the model's own.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, numpy_helper

from tenfold.errors import ModelError
from tenfold.files import path_of
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array

_NUMBER = re.compile(r"-?[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True)
class Folder:
    """Where a model's files lie: names count from the first of `bases` that has them, none may lead out of `bounds`."""

    bases: tuple[Path, ...]
    bounds: Path
    vouched: bool

    def file(self, location: str, tensor: str) -> tuple[Path, int]:
        """The real path of a file and its size in bytes; ModelError if the model may not name it."""
        relative = Path(location)
        if not location or "\0" in location or relative.is_absolute() or ".." in relative.parts:
            raise ModelError(f"tensor {tensor} names {location!r} as its file, which is no place beside the model")
        places = [base / relative for base in self.bases]
        path = next((one for one in places if os.path.exists(one)), places[0])
        try:
            real = path.resolve(strict=True)
            about = real.stat()
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
            raise ModelError(
                f"cannot read {path}, which holds tensor {tensor}: {why}",
                argument="data_root",
                remedy="put the file beside the model, or pass data_root=, the folder that holds it",
            ) from error
        if not real.is_relative_to(self.bounds):
            raise _outside(f"tensor {tensor} lies in {path}, a link that leads out of {self.bounds}")
        if not stat.S_ISREG(about.st_mode):
            raise ModelError(f"tensor {tensor} lies in {path}, which is no file")
        if about.st_nlink > 1 and not self.vouched:
            raise _outside(f"tensor {tensor} lies in {path}, a hard link, which may show a file from anywhere")
        return real, about.st_size


def folder_of(model: Path | None, data_root: str | os.PathLike[str] | None) -> Folder | None:
    """Where the files of a model in the folder `model` (None: it came without one) may lie; None if nowhere."""
    if data_root is None:
        return None if model is None else Folder((model,), model.resolve(), vouched=False)
    root = path_of(data_root, "data_root")
    inside = model is not None and model.resolve().is_relative_to(root.resolve())
    return Folder((model, root) if model is not None and inside else (root,), root.resolve(), vouched=True)


def _outside(message: str) -> ModelError:
    remedy = "pass data_root=, a folder that holds the model and what its links lead to, if you trust all of it"
    return ModelError(message, argument="data_root", remedy=remedy)


def external(message: TensorProto, dtype: DType, count: int, folder: Folder | None) -> Callable[[], Array]:
    """What reads a tensor's bytes when they are asked for; what it states of them is checked now."""
    if dtype is dt.string:
        raise ModelError(f"tensor {message.name} of strings cannot lie in a file")
    entries = {entry.key: entry.value for entry in message.external_data}
    location, needed = entries.get("location", ""), -(-count * dtype.bits // 8)
    if folder is None:
        raise ModelError(
            f"tensor {message.name} lies in the file {location!r}, and the model came without a folder",
            argument="data_root",
            remedy="pass the model's path instead of its contents, or data_root=, the folder that holds the file",
        )
    offset, length = (_number(message, entries, key, default) for key, default in (("offset", 0), ("length", needed)))
    if length != needed:
        raise ModelError(f"tensor {message.name} needs {needed} bytes, and its external data state {length}")
    path, available = folder.file(location, message.name)
    if offset < 0 or offset + needed > available:
        raise ModelError(f"tensor {message.name} lies at bytes {offset} to {offset + needed} of {path} ({available})")
    shape = tuple(message.dims)
    stated = TensorProto(data_type=message.data_type, dims=message.dims)

    def load() -> Array:
        if not needed:
            return np.zeros(shape, dtype.numpy)
        raw = np.memmap(path, np.uint8, "r", offset, (needed,))
        if dtype.bits < 8:
            stated.raw_data = raw.tobytes()
            return np.asarray(numpy_helper.to_array(stated))
        if dtype is dt.boolean:
            return np.asarray(raw != 0).reshape(shape)
        return raw.view(dtype.numpy.newbyteorder("<")).reshape(shape).astype(dtype.numpy, copy=False)

    return load


def _number(message: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
    found = entries.get(key, str(default))
    if not _NUMBER.fullmatch(found):
        raise ModelError(f"tensor {message.name} states {found[:40]!r} as its {key}, which is no number of bytes")
    return int(found)
