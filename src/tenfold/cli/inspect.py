"""tenfold inspect FILE [--why]"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from tenfold.cli import arguments
from tenfold.cli.recipe import Recipe, is_engine
from tenfold.cli.shell import answer, set_logging
from tenfold.diagnose import report, tables
from tenfold.runtime import format


def verb(
    path: arguments.EngineOrModel,
    why: Annotated[
        bool, typer.Option("--why", help="Also tell what was not fused, which kernels were refused, and why.")
    ] = False,
    target: Annotated[str | None, typer.Option("--target", help="Which of the engine's targets to show.")] = None,
    effort: arguments.Effort = None,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Show what is in an engine: regions, tiers, memory, refusals, source map."""
    set_logging(verbose)
    if is_engine(path):
        file = format.File(format.read(path), str(path))
        about = report.describe(file, target)
    else:
        about = report.describe(Recipe(target, effort=effort).build(path).file)

    def show(console: Console) -> None:
        for part in tables.inspection(about, why=why):
            console.print(part)

    answer(about, as_json=json, show=show)
