"""The shell: `tenfold build | run | tune | bench | profile | inspect | compare | timings | settings`, one file a verb.

Exit codes: 0 ok, 1 comparison failed, 2 usage, 3 model, 4 unsupported or target, 5 engine file, 6 input, 7 device,
8 limit, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tenfold.cli import bench, build, compare, inspect, profile, run, settings, timings, tune
from tenfold.cli.shell import INTERRUPTED, USAGE, code_of, heeding_interrupts, tell_error
from tenfold.errors import TenfoldError
from tenfold.version import __version__

app = typer.Typer(
    help="Turns a trained network into one file of machine code and runs it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (build, run, tune, bench, profile, inspect, compare, settings):
    app.command(verb.__name__.rpartition(".")[2])(verb.verb)
app.add_typer(timings.app, name="timings")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tenfold {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Turns a trained network into one file of machine code and runs it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (of this process's own arguments if None); the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with heeding_interrupts():
            app(words, prog_name="tenfold")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except TenfoldError as error:
        tell_error(error, as_json="--json" in words)
        return code_of(error)
    except OSError as error:
        tell_error(error, as_json="--json" in words)
        return USAGE
    return 0
