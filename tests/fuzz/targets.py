"""What is done with a mutant, and what it may end in: an answer, or one of Tenfold's own exceptions."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from onnx import ModelProto

import tenfold
from tenfold.errors import EngineError, TenfoldError
from tenfold.importers import open_model
from tenfold.ir.dtype import DType
from tests.conformance.run import shared_workers
from tests.fuzz import corpus, engines, mutate

MOST_INPUT = 1 << 20


@dataclass(frozen=True)
class Task:
    """Mutant `index` of a seed, or one that failed before: its bytes."""

    target: str
    seed: int
    index: int
    folder: str
    kept: bytes | None = None


@dataclass(frozen=True)
class Found:
    """What a mutant ended in, in a word; for a failure also why, and the mutant."""

    outcome: str
    problem: str = ""
    mutant: bytes = b""


def attempt(task: Task) -> Found:
    """Do what the target says with the mutant. Any exception that is not Tenfold's is a failure."""
    dice = Random(f"{task.target} {task.seed} {task.index}")
    data = task.kept if task.kept is not None else None
    try:
        with np.errstate(all="ignore"):
            if task.target == "engine":
                return _engine(data, dice, Path(task.folder))
            data = mutate.mutant(corpus.models(), dice) if data is None else data
            return Found(_ACTS[task.target](data, Path(task.folder)))
    except TenfoldError as error:
        return Found(type(error).__name__)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return Found("failed", f"{type(error).__name__} at {place}: {str(error)[:200]}", data or b"")


def _onnx(data: bytes, folder: Path) -> str:
    open_model(data)
    return "imported"


def _builder(data: bytes, folder: Path) -> str:
    """Build the mutant and run it on what its inputs take."""
    with shared_workers(folder):
        engine = tenfold.build(ModelProto.FromString(data) if _parses(data) else data, cache=folder, threads=1)
    given = [_given(spec, Random(str(number))) for number, spec in enumerate(engine.inputs)]
    if sum(one.nbytes for one in given if isinstance(one, np.ndarray)) > MOST_INPUT:
        return "built"
    engine.run(given)
    return "ran"


def _parses(data: bytes) -> bool:
    try:
        return bool(ModelProto.FromString(data).HasField("graph"))
    except Exception:
        return False


def _given(spec: Any, dice: Random) -> Any:
    """An input that fits: 3 for a size that is open, few kinds of numbers."""
    shape = tuple(size if isinstance(size, int) else 3 for size in spec.shape)
    kind: DType = spec.dtype
    if kind.element is not None:
        return []
    if int(np.prod(shape, dtype=object)) * kind.itemsize > MOST_INPUT:
        return np.broadcast_to(np.zeros((), np.uint8), (MOST_INPUT + 1,))
    random = np.random.default_rng(dice.randrange(1 << 30))
    if kind.is_object:
        return np.array(["a", "bc", ""], object)[random.integers(0, 3, shape)]
    if kind.is_float:
        return (random.standard_normal(shape) * 2).astype(kind.numpy)
    return random.integers(0, 4, shape).astype(kind.numpy)


@cache
def _engines(folder: Path) -> tuple[tuple[bytes, bytes], ...]:
    """Engines to mutate, and what each gives; built where none is yet, and read from there by other children."""
    made = []
    for number, data in enumerate(corpus.models()[-6:]):
        path = folder / f"seed{number}.tenfold"
        if not path.exists():
            with shared_workers(folder):
                image = tenfold.build(ModelProto.FromString(data), cache=folder, threads=1).file.image.tobytes()
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                file.write(image)
            os.replace(file.name, path)
        made.append((path.read_bytes(), _answer(path)))
    return tuple(made)


def _answer(path: Path) -> bytes:
    engine = tenfold.load(path, threads=1)
    given = [_given(spec, Random(str(number))) for number, spec in enumerate(engine.inputs)]
    return b"".join(np.asarray(one).tobytes() for one in engine.run(given).values())


def _engine(kept: bytes | None, dice: Random, folder: Path) -> Found:
    """Load the mutant. With stale hashes: refused, or whole; with repaired ones: refused, or sizes are computed."""
    whole, answer = dice.choice(_engines(folder))
    data, repaired = engines.mutant(whole, dice) if kept is None else (kept, True)
    path = folder / f"mutant{os.getpid()}.tenfold"
    path.write_bytes(data)
    try:
        if not repaired:
            return Found("whole") if _answer(path) == answer else Found("failed", "another answer", data)
        engine = tenfold.load(path, threads=1)
        given = [_given(spec, Random(str(number))) for number, spec in enumerate(engine.inputs)]
        engine.context().close()
        engine.frames(1).find([one for one in given if isinstance(one, np.ndarray)])
        return Found("loaded")
    except EngineError:
        return Found("EngineError")
    except TenfoldError as error:
        return Found(type(error).__name__)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return Found("failed", f"{type(error).__name__} at {place}: {str(error)[:200]}", data)


_ACTS: dict[str, Callable[[bytes, Path], str]] = {"onnx": _onnx, "builder": _builder}
TARGETS = ("onnx", "engine", "builder")


def packed(target: str, mutant: bytes) -> str:
    """A line of the list of mutants that failed once."""
    digest = hashlib.sha256(mutant).hexdigest()[:12]
    return f"{target} {digest} {base64.b85encode(zlib.compress(mutant, 9)).decode()}"


def kept(path: Path = corpus.FAILED) -> list[tuple[str, str, bytes]]:
    """The mutants that failed once: target, name, bytes."""
    lines = [line.split() for line in path.read_text().splitlines() if line] if path.exists() else []
    return [(target, name, zlib.decompress(base64.b85decode(text))) for target, name, text in lines]
