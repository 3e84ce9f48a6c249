"""tenfold profile ENGINE|MODEL [--trace FILE]"""

from __future__ import annotations

import json as text
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold import files
from tenfold.cli import arguments
from tenfold.cli.recipe import Formatted, Question
from tenfold.cli.shell import answer, set_logging
from tenfold.diagnose import profile, tables
from tenfold.diagnose.roofline import ceiling


@arguments.gathered
def verb(
    path: arguments.EngineOrModel,
    *,
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Write a trace for Chrome's viewer or Perfetto.")
    ] = None,
    roofline: arguments.Roofline = True,
    question: Question,
    recipe: Formatted,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Tell how long each part of a model takes, by the operators of the user's model."""
    set_logging(verbose)
    files.require_output(trace, "--trace", [path, question.inputs])
    engine = recipe.open(path)
    asked = question.arrays(path, engine, recipe)
    found = profile.profiled(engine, asked)
    middle = found[len(found) // 2]
    if trace is not None:
        with files.whole(trace, 0o644) as file:
            file.write(text.dumps(middle.chrome_trace()).encode())
    top = ceiling(engine.frames(recipe.threads).threads) if roofline else None
    least = profile.least_seconds(engine, asked, middle, top) if top else None
    data: dict[str, Any] = {"model": str(path), "target": engine.target, **profile.as_data(found, least)}

    def show(console: Console) -> None:
        console.print(tables.profile(data))

    answer(data, as_json=json, show=show)
