"""tenfold tune FILE [--effort]"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold.cli import arguments
from tenfold.cli.shell import answer, ending_at_interrupt, progress_bar, set_logging
from tenfold.compiler.retune import retune
from tenfold.diagnose import report, tables
from tenfold.runtime import format

EFFORT = 2


def verb(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The engine file to improve.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.tenfold", help="Write it there instead.")
    ] = None,
    effort: arguments.Effort = EFFORT,
    threads: arguments.Threads = None,
    cache: arguments.Cache = None,
    json: arguments.Json = False,
    verbose: arguments.Verbose = 0,
) -> None:
    """Choose an engine's kernels again, by timing them on this machine; nothing but the file is needed.

    Ctrl-C ends it with what has been won so far.
    """
    set_logging(verbose)
    start = time.perf_counter()
    format.require_place(output or path)
    file = format.File(format.read(path), str(path))
    kept = False if cache == "off" else cache or True
    with progress_bar() as tell, ending_at_interrupt() as stop:
        level = EFFORT if effort is None else effort
        image = retune(file, level, threads=threads, cache=kept, progress=tell, stop=stop)
        interrupted = stop()
    before, after = (report.describe(one) for one in (file, format.File(image, str(path))))
    format.write(output or path, image)
    changed = [
        {"number": number, "kind": new["kind"], "source": new["source"], "before": old["tactic"], "now": new["tactic"]}
        for number, (old, new) in enumerate(zip(before["regions"], after["regions"], strict=True))
        if old["tactic"] != new["tactic"]
    ]
    data: dict[str, Any] = {"engine": str(output or path), "regions": len(after["regions"]), "changed": changed}
    data["interrupted"] = interrupted
    data["not_timed"] = [] if level == 0 else [why for why in after["targets"].values() if why != report.HERE]
    data["seconds"] = round(time.perf_counter() - start, 3)

    def show(console: Console) -> None:
        console.print(tables.changes(data))

    answer(data, as_json=json, show=show)
