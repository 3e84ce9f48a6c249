"""tenfold bench ENGINE|MODEL"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold.cli import arguments
from tenfold.cli.recipe import Formatted, Question, is_engine, original
from tenfold.cli.shell import answer, progress_bar, set_logging
from tenfold.diagnose import bench, is_installed, tables
from tenfold.diagnose.roofline import ceiling


@arguments.gathered
def verb(
    path: arguments.EngineOrModel,
    *,
    model: Annotated[
        Path | None, typer.Option("--model", help="The model an engine was built from, to time its peer too.")
    ] = None,
    question: Question,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How many turns each has.")] = bench.ROUNDS,
    roofline: arguments.Roofline = True,
    recipe: Formatted,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Time an engine or a model, by turns with ONNX Runtime if that is installed."""
    set_logging(verbose)
    engine, threads = recipe.open(path), recipe.threads
    asked = [question.arrays(path, engine, recipe, plus=n) for n in range(bench.BUFFERS)]
    used = engine.frames(threads).threads
    source = original(model, path) if model or not is_engine(path) else None
    names = [name for name in ("onnxruntime",) if is_installed(name)]
    peers, refusals = bench.able(names, source, asked, used) if source else ({}, {})
    top = ceiling(used) if roofline else None
    with progress_bar() as tell:
        found = bench.measure(engine, asked, peers, threads=threads, top=top, rounds=rounds, progress=tell)
    data: dict[str, Any] = {"model": str(path), "target": engine.target, "cpu": bench.machine_name()}
    data |= {"precision": engine.manifest.get("precision", "model"), **found}
    if refusals:
        data["refusals"] = refusals

    def show(console: Console) -> None:
        console.print(tables.timings(data))

    answer(data, as_json=json, show=show)
