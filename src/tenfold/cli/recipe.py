"""What a verb is told of building and of calling: options gathered into one value, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tenfold
from tenfold.cli import arguments
from tenfold.cli.shell import progress_bar
from tenfold.cli.texts import dims_of, formats_of, shapes_of
from tenfold.diagnose import samples
from tenfold.errors import EngineError, ModelError, OptionError
from tenfold.importers.overrides import unknown_name
from tenfold.runtime.engine import Engine
from tenfold.runtime.format import MAGIC


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

    target: arguments.Targets = None
    shape: arguments.Shapes = None
    dim: arguments.Dims = None
    precision: arguments.Precision = None
    effort: arguments.Effort = None
    winograd: arguments.Winograd = None
    threads: arguments.Threads = None
    cache: arguments.Cache = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The arguments of `tenfold.build`."""
        said: dict[str, Any] = {"target": self.target, "precision": self.precision, "effort": self.effort}
        said |= {
            "winograd": self.winograd,
            "threads": self.threads,
            "shapes": shapes_of(self.shape) or None,
            "dims": dims_of(self.dim) or None,
        }
        said |= {"cache": False if self.cache == "off" else self.cache}
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
        engine = tenfold.load(path, threads=self.threads)
        inputs = [spec.name for spec in engine.inputs]
        sizes = [one.name for one in engine.plan.symbols if one.axis >= 0]
        for option, said, known in (("shape", shapes_of(self.shape), inputs), ("dim", dims_of(self.dim), sizes)):
            for name in said:
                if name not in known:
                    raise unknown_name("input" if option == "shape" else "open size", name, known, f"--{option}")
        return engine


@dataclass(frozen=True)
class Formatted(Recipe):
    """A recipe that also says how the caller's arrays lie."""

    format: arguments.Formats = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The arguments of `tenfold.build`."""
        formats = formats_of(self.format)
        return {**super().options, **({"formats": formats} if formats else {})}


@dataclass(frozen=True)
class Question:
    """What an engine is called on: a file's arrays, or made up from a seed."""

    inputs: arguments.Inputs = None
    random: arguments.Seed = None

    def arrays(
        self, path: Path, engine: Engine, recipe: Recipe, *, seed: int | None = 0, plus: int = 0
    ) -> dict[str, samples.Array]:
        """The inputs of `engine`, which was opened from `path`; `seed` counts where neither option is given, `plus` is
        added to it.
        """
        if self.inputs is not None and self.random is not None:
            raise OptionError("inputs are given, and made up", argument="--random", remedy="leave it out, or --inputs")
        if self.inputs is not None and is_engine(path) and (recipe.shape or recipe.dim):
            option = "--shape" if recipe.shape else "--dim"
            problem = f"{option} is for inputs that are made up, and {path} is built"
            raise OptionError(problem, argument=option, remedy="leave it out, or give the model")
        chosen = seed if self.random is None else self.random
        chosen = None if chosen is None else chosen + plus
        return samples.inputs_for(engine, self.inputs, chosen, shapes_of(recipe.shape), dims_of(recipe.dim))
