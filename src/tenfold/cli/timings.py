"""tenfold timings list | export BUNDLE | merge BUNDLE… [--cache DIR]"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tenfold import files
from tenfold.cli import arguments
from tenfold.cli.shell import answer
from tenfold.compiler.cache import cache_folder
from tenfold.compiler.timings import Timings
from tenfold.diagnose import tables
from tenfold.errors import OptionError

app = typer.Typer(
    help="What tuning found on this machine: list it, take it to others of its kind, take in what they found.",
    no_args_is_help=True,
)
Cache = Annotated[str | None, typer.Option("--cache", metavar="DIR", help="The folder where it is remembered.")]


def _timings(cache: str | None) -> Timings:
    folder = cache_folder(cache or True)
    if folder is None:
        raise OptionError(
            "nothing is remembered here", argument="--cache", remedy="name a folder, or set TENFOLD_CACHE"
        )
    return Timings(folder)


@app.command("list")
def listed(cache: Cache = None, json: arguments.Json = False) -> None:
    """Count the problems that were timed, by machine and version, and those where another kernel won than guessed."""
    every, won = Counter[tuple[str, str, int]](), Counter[tuple[str, str, int]]()
    for entry in _timings(cache).entries():
        machine, versions, *_ = entry.problem.split("\n")
        key = (machine, versions, entry.effort)
        every[key] += 1
        won[key] += entry.gain > 0
    rows: list[dict[str, Any]] = [
        {"machine": key[0], "versions": key[1], "effort": key[2], "problems": count, "won": won[key]}
        for key, count in sorted(every.items())
    ]

    def show(console: Console) -> None:
        console.print(tables.timed(rows))

    answer({"timings": rows}, as_json=json, show=show)


@app.command("export")
def exported(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE.json", help="The file to write.")],
    cache: Cache = None,
    json: arguments.Json = False,
) -> None:
    """Write all that is remembered into one file."""
    files.require_output(bundle, "BUNDLE.json")
    count = _timings(cache).bundle(bundle)
    data = {"bundle": str(bundle), "problems": count}
    answer(data, as_json=json, show=lambda console: console.print(f"{count} problems written to {bundle}"))


@app.command("merge")
def merged(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE.json…", help="Files that export wrote.")],
    cache: Cache = None,
    json: arguments.Json = False,
) -> None:
    """Take in what other machines found: each problem that this one timed with less effort, or not at all."""
    known = _timings(cache)
    taken = {str(bundle): known.merge(bundle) for bundle in bundles}

    def show(console: Console) -> None:
        for bundle, count in taken.items():
            console.print(f"{count} problems taken from {bundle}")

    answer({"taken": taken}, as_json=json, show=show)
