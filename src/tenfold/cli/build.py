"""tenfold build MODEL -o FILE.tenfold"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold import files
from tenfold.cli import arguments
from tenfold.cli.recipe import Formatted
from tenfold.cli.shell import answer, set_logging
from tenfold.diagnose import report, tables
from tenfold.runtime import format as engine_file


@arguments.gathered
def verb(
    model: arguments.Model,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.tenfold", help="The engine file to write.")],
    recipe: Formatted,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Build a model into an engine file."""
    set_logging(verbose)
    start = time.perf_counter()
    engine_file.require_place(output)
    files.require_output(output, "--output", [model])
    engine = recipe.build(model)
    engine.save(output)
    about = report.describe(engine.file)
    data: dict[str, Any] = {"engine": str(output), "bytes": output.stat().st_size} | report.summary(about)
    data["seconds"] = round(time.perf_counter() - start, 3)

    def show(console: Console) -> None:
        console.print(tables.heading(about))
        seconds, size = data["seconds"], tables.in_bytes(data["bytes"])
        console.print(f"\n{output}: {size}, built in {seconds:.1f} s", markup=False)

    answer(data, as_json=json, show=show)
