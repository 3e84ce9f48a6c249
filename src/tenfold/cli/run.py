"""tenfold run ENGINE|MODEL --inputs in.npz --outputs out.npz"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold import files
from tenfold.cli import arguments
from tenfold.cli.recipe import Formatted, Question
from tenfold.cli.shell import answer, set_logging
from tenfold.diagnose import samples, tables


@arguments.gathered
def verb(
    path: arguments.EngineOrModel,
    *,
    outputs: Annotated[Path | None, typer.Option("--outputs", metavar="OUT.npz", help="Where results go.")] = None,
    question: Question,
    recipe: Formatted,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Run an engine or a model once."""
    set_logging(verbose)
    files.require_output(outputs, "--outputs", [path, question.inputs])
    engine = recipe.open(path)
    arrays = question.arrays(path, engine, recipe, seed=None)
    start = time.perf_counter()
    results = engine.run(arrays)
    seconds = time.perf_counter() - start
    if outputs is not None:
        samples.write(outputs, results)
    data: dict[str, Any] = {"model": str(path), "milliseconds": round(1000 * seconds, 3)}
    data["inputs"] = {name: samples.about(array) for name, array in arrays.items()}
    data["outputs"] = {name: samples.about(array) for name, array in results.items()}

    def show(console: Console) -> None:
        console.print(tables.arrays(data["inputs"], data["outputs"]))
        console.print(f"{1000 * seconds:.2f} ms" + (f"; results in {outputs}" if outputs else ""), markup=False)

    answer(data, as_json=json, show=show)
