"""python -m tests.zoo: every architecture family at a small configuration, six models at real size, as a table.

Options: --light (the half that the default tests build), --routes torch,torchscript, --effort N, --seconds S (0: no
times), --folder DIR, --markdown FILE, and names of families. What lies in the folder is not built again: a run with
--seconds 0 on a busy machine, then one with times on a quiet one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import tenfold
from tests.zoo.entry import Entry
from tests.zoo.families import FAMILIES
from tests.zoo.measure import COLUMNS, Row, checked, kept, line, timed


def main() -> int:
    """Print the table; 1 if a family is not built whole or not exact enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help="families, by the beginnings of their names")
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--routes", default="torch")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [one for one in FAMILIES if one.light or not given.light]
    if given.names:
        chosen = [one for one in chosen if any(one.name.lower().startswith(name.lower()) for name in given.names)]
    print(line(COLUMNS), flush=True)
    rows = []
    for entry in chosen:
        for route in [entry.native] if entry.native else given.routes.split(","):
            rows.append(_row(entry, route, given.effort, given.seconds, given.folder))
            print(rows[-1], flush=True)
    good = sum(row.good for row in rows)
    slower = [row.name for row in rows if row.timed and row.theirs < row.ours]
    print(f"{good} of {len(rows)} good; slower than PyTorch: {', '.join(slower) or 'none'}")
    if given.markdown:
        given.markdown.write_text(_markdown(rows))
    return 0 if good == len(rows) else 1


def _row(entry: Entry, route: str, effort: int, seconds: float, folder: Path | None) -> Row:
    """A family that cannot even be made, or fails in PyTorch, is a row too."""
    try:
        return _measured(entry, route, effort, seconds, folder)
    except Exception as error:
        return Row(entry.name, route, reason=f"{type(error).__name__}: {error}")


def _measured(entry: Entry, route: str, effort: int, seconds: float, folder: Path | None) -> Row:
    place = None if folder is None else kept(entry, route, folder)
    if place is not None and place.exists():
        row, engine = Row(**json.loads(place.with_suffix(".json").read_text())), tenfold.load(place)
        if not seconds or row.timed:
            return row
        module, inputs = entry.build()
    else:
        module, inputs = entry.build()
        row, engine = checked(entry, module, inputs, route, effort)
        if place is not None and engine is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            engine.save(place)
    row = timed(row, engine, module, inputs, seconds) if seconds and engine is not None else row
    if place is not None and place.exists():
        place.with_suffix(".json").write_text(json.dumps(dataclasses.asdict(row)))
    return row


def _markdown(rows: Sequence[Row]) -> str:
    ruler = ["---", "---", *("---:",) * (len(COLUMNS) - 2)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (COLUMNS, ruler, *(row.cells() for row in rows)))


if __name__ == "__main__":
    sys.exit(main())
