"""Arguments that several verbs take, and what their texts mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

import tenfold
from tenfold.cli.shell import progress_bar
from tenfold.errors import EngineError, ModelError, OptionError
from tenfold.runtime.engine import Engine
from tenfold.runtime.format import MAGIC

Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A model: ONNX, .pt2, TorchScript, .keras, .h5, or a SavedModel's folder."),
]
EngineOrModel = Annotated[Path, typer.Argument(metavar="ENGINE|MODEL", help="An engine file, or a model to build.")]
Targets = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Machines to build for, a comma between two: cpu, cpu:x86-64-v3, cpu:aarch64, cuda, cuda:sm_90, cuda/cpu.",
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="x=1x3xHxW", help="An input's sizes: numbers, and names for open ones. Repeatable."
    ),
]
Dims = Annotated[
    list[str] | None,
    typer.Option("--dim", metavar="H=32..640/32", help="A named size: its value, or least..most/multiple. Repeatable."),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="x=f16,channels_last",
        help="How an input or output lies: an element type, channels_last, or both. Repeatable.",
    ),
]
Precision = Annotated[
    str | None, typer.Option("--precision", help="model (types as written) or f32; on GPUs also tf32, f16, bf16.")
]
Effort = Annotated[int | None, typer.Option("--effort", help="0 to 3: how long to look for faster kernels.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Most threads a call uses, caller included.")]
Cache = Annotated[str | None, typer.Option("--cache", metavar="DIR|off", help="Where built engines are remembered.")]
Inputs = Annotated[Path | None, typer.Option("--inputs", metavar="IN.npz", help="The inputs, by name.")]
Seed = Annotated[
    int | None, typer.Option("--random", metavar="SEED", min=0, help="Make inputs up, the same for each seed.")
]
Roofline = Annotated[bool, typer.Option(help="Also measure what the machine can do, and which share of it is reached.")]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to standard output.")]
Verbose = Annotated[int, typer.Option("-v", "--verbose", count=True, help="Say what is done, and why it takes time.")]

Sizes = tuple[int | str, ...]
Said = TypeVar("Said")


def shapes_of(texts: Sequence[str] | None) -> dict[str, Sizes]:
    """The sizes of each input: "x=1x3xHxW" (or "x=1,3,H,W", where a name holds an x); OptionError for another text."""
    return _once("--shape", map(_shape, texts or ()))


def _shape(text: str) -> tuple[str, Sizes]:
    name, _, sizes = text.rpartition("=")
    words = sizes.split("," if "," in sizes else "x") if sizes else []
    if not name or not all(_is_size(word) for word in words):
        raise OptionError(f"{text!r} is no shape", argument="--shape", remedy="write it as x=1x3xHxW or x=1,3,H,W")
    return name, tuple(int(word) if word.isdigit() else word for word in words)


def _is_size(word: str) -> bool:
    return word.isdigit() or not re.fullmatch(r"[\d+.\s-]*", word)


_BOUNDS = re.compile(r"(?P<low>\d+)(?:\.\.(?P<high>\d+)(?:/(?P<multiple>[1-9]\d*))?)?")


def dims_of(texts: Sequence[str] | None) -> dict[str, int | tuple[int, ...]]:
    """The value or the bounds of each named size: "H=8", "H=32..640", "H=32..640/32"; OptionError for another text."""
    return _once("--dim", map(_dim, texts or ()))


def _dim(text: str) -> tuple[str, int | tuple[int, ...]]:
    name, _, bounds = text.rpartition("=")
    match = _BOUNDS.fullmatch(bounds)
    if not name or not match:
        raise OptionError(
            f"{text!r} is no size", argument="--dim", remedy="write it as H=32, H=32..640 or H=32..640/32"
        )
    numbers = tuple(int(number) for number in match.groups() if number is not None)
    return name, numbers[0] if len(numbers) == 1 else numbers


def formats_of(texts: Sequence[str] | None) -> dict[str, str]:
    """The format of each input or output: "x=f16,channels_last"; OptionError for another text."""
    return _once("--format", map(_format, texts or ()))


def _format(text: str) -> tuple[str, str]:
    name, _, words = text.rpartition("=")
    if not name or not words:
        raise OptionError(f"{text!r} is no format", argument="--format", remedy="write it as x=f16,channels_last")
    return name, words.replace(",", " ")


def _once(option: str, pairs: Iterable[tuple[str, Said]]) -> dict[str, Said]:
    """What is said by name; OptionError for a name of which two things are said."""
    found = dict[str, Said]()
    for name, said in pairs:
        if found.get(name, said) != said:
            raise OptionError(f"{option} says two things of {name}", argument=option, remedy="leave one out")
        found[name] = said
    return found


def is_engine(path: Path) -> bool:
    """Whether a file is an engine file, by how it begins; ModelError if there is no file or folder."""
    if path.is_dir():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        kind = EngineError if path.suffix == ".tenfold" else ModelError
        raise kind(f"cannot read {path}: {error.strerror}", argument="model", remedy="check the path") from error


def original(model: Path | None, path: Path) -> Path:
    """The model that another runtime is given; OptionError for an engine."""
    source = model or path
    if is_engine(source):
        raise OptionError(
            f"{source} is an engine, which no other runtime reads",
            argument="--model",
            remedy="give the model that it was built from",
        )
    return source


@dataclass(frozen=True)
class Recipe:
    """How a model is built; None is the default. An engine file takes `threads` alone, and sizes for made-up inputs."""

    target: str | None = None
    shape: Sequence[str] | None = None
    dim: Sequence[str] | None = None
    precision: str | None = None
    effort: int | None = None
    threads: int | None = None
    cache: str | None = None
    format: Sequence[str] | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The arguments of `tenfold.build`."""
        said: dict[str, Any] = {"target": self.target, "precision": self.precision, "effort": self.effort}
        said |= {"threads": self.threads, "shapes": shapes_of(self.shape) or None, "dims": dims_of(self.dim) or None}
        said |= {"formats": formats_of(self.format) or None, "cache": False if self.cache == "off" else self.cache}
        return {name: value for name, value in said.items() if value is not None}

    def build(self, model: Path) -> Engine:
        """The engine for a model, with progress on standard error."""
        if not model.exists():
            raise ModelError(f"there is no file {model}", argument="model", remedy="check the path")
        with progress_bar() as tell:
            return tenfold.build(model, progress=tell, **self.options)

    def open(self, path: Path) -> Engine:
        """The engine in a file, or the one built for the model in it."""
        if not is_engine(path):
            return self.build(path)
        for field in fields(self):
            if field.name not in ("threads", "shape", "dim") and getattr(self, field.name) is not None:
                raise OptionError(
                    f"--{field.name} belongs to building, and {path} is built",
                    argument=f"--{field.name}",
                    remedy="leave it out, or give the model",
                )
        return tenfold.load(path, threads=self.threads)
