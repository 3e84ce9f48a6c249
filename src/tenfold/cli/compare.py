"""tenfold compare ENGINE|MODEL --against onnxruntime|reference"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold.cli import arguments
from tenfold.cli.recipe import Question, Recipe, original
from tenfold.cli.shell import DIFFERS, answer, set_logging
from tenfold.diagnose import compare, tables


@arguments.gathered
def verb(
    path: arguments.EngineOrModel,
    *,
    model: Annotated[
        Path | None, typer.Option("--model", help="The model an engine was built from, for the other runtime.")
    ] = None,
    against: Annotated[str, typer.Option("--against", help="onnxruntime, openvino or reference.")] = "onnxruntime",
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="The greatest norm of a difference by the peer's norm.")
    ] = compare.TOLERANCE,
    layers: Annotated[bool, typer.Option(help="Also compare every value on the way.")] = True,
    question: Question,
    recipe: Recipe,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Compare a model's outputs and layers with another runtime's; exit code 1 if they differ."""
    set_logging(verbose)
    source = original(model, path)
    engine = recipe.open(path)
    asked = question.arrays(path, engine, recipe)
    found = compare.compare(
        source, engine, asked, against=against, options=recipe.options, tolerance=tolerance, layers=layers
    )
    data: dict[str, Any] = {"model": str(path), "target": engine.target, **compare.as_data(found)}

    def show(console: Console) -> None:
        for part in tables.comparison(data):
            console.print(part)

    answer(data, as_json=json, show=show)
    if not found.agrees:
        raise typer.Exit(DIFFERS)
