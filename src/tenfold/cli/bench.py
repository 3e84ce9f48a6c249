"""tenfold bench ENGINE|MODEL"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold.cli import arguments
from tenfold.cli.arguments import Recipe, dims_of, is_engine, shapes_of
from tenfold.cli.shell import answer, progress_bar, set_logging
from tenfold.diagnose import bench, is_installed, samples, tables
from tenfold.diagnose.roofline import ceiling


def verb(
    path: arguments.EngineOrModel,
    model: Annotated[
        Path | None, typer.Option("--model", help="The model an engine was built from, to time its peer too.")
    ] = None,
    inputs: arguments.Inputs = None,
    random: arguments.Seed = 0,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How many turns each has.")] = bench.ROUNDS,
    roofline: arguments.Roofline = True,
    target: arguments.Targets = None,
    shape: arguments.Shapes = None,
    dim: arguments.Dims = None,
    precision: arguments.Precision = None,
    format: arguments.Formats = None,
    effort: arguments.Effort = None,
    threads: arguments.Threads = None,
    cache: arguments.Cache = None,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Time an engine or a model, by turns with ONNX Runtime if that is installed."""
    set_logging(verbose)
    engine = Recipe(target, shape, dim, precision, effort, threads, cache, format).open(path)
    sizes = shapes_of(shape), dims_of(dim)
    asked = [samples.inputs_for(engine, inputs, (random or 0) + n, *sizes) for n in range(bench.BUFFERS)]
    used = engine.frames(threads).threads
    source = arguments.original(model, path) if model or not is_engine(path) else None
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
