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
from tenfold.errors import TenfoldError
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
    dice, folder = Random(f"{task.target} {task.seed} {task.index}"), Path(task.folder)
    data = task.kept or b""
    try:
        with np.errstate(all="ignore"):
            if task.target == "engine":
                return Found(_engine(dice, folder))
            data = data or mutate.mutant(corpus.models(), dice)
            return Found(_ACTS[task.target](data, folder))
    except TenfoldError as error:
        return Found(type(error).__name__)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        return Found("failed", f"{type(error).__name__} at {place}: {str(error)[:200]}", data)


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


def _engine(dice: Random, folder: Path) -> str:
    """Load the mutant. With stale hashes: refused, or whole; with repaired ones: refused, or sizes are computed."""
    whole, answer = dice.choice(_engines(folder))
    data, repaired = engines.mutant(whole, dice)
    path = folder / f"mutant{os.getpid()}.tenfold"
    path.write_bytes(data)
    if not repaired:
        if _answer(path) != answer:
            raise AssertionError("a damaged engine is loaded and gives another answer")
        return "whole"
    engine = tenfold.load(path, threads=1)
    given = [_given(spec, Random(str(number))) for number, spec in enumerate(engine.inputs)]
    engine.context().close()
    if all(isinstance(one, np.ndarray) for one in given):
        engine.frames(1).find(given)
    return "loaded"


_ACTS: dict[str, Callable[[bytes, Path], str]] = {"onnx": _onnx, "builder": _builder}
TARGETS = ("onnx", "engine", "builder")


def packed(task: Task, mutant: bytes) -> str:
    """A line of the list of what failed once: engines differ from build to build, so of them the seed is kept."""
    if task.target == "engine":
        return f"engine {task.seed} {task.index}"
    digest = hashlib.sha256(mutant).hexdigest()[:12]
    return f"{task.target} {digest} {base64.b85encode(zlib.compress(mutant, 9)).decode()}"


def kept(folder: str, path: Path = corpus.FAILED) -> list[Task]:
    """What failed once, as tasks."""
    found = []
    for number, line in enumerate(path.read_text().splitlines()):
        target, name, text = line.split()
        if target == "engine":
            found.append(Task(target, int(name), int(text), folder))
        else:
            found.append(Task(target, -1, number, folder, zlib.decompress(base64.b85decode(text))))
    return found
