"""python -m tests.zoo: every architecture family at a small configuration, as a table.

Options: --light (the half that the default tests build), --effort N, --no-times, --json FILE, and names of families.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from pathlib import Path

from tests.zoo.entry import Entry
from tests.zoo.families import FAMILIES
from tests.zoo.measure import HEADER, Row, measured


def main() -> int:
    """Print the table; 1 if a family is not built whole or not exact enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", help="families, by the beginnings of their names")
    parser.add_argument("--light", action="store_true")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--no-times", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = [one for one in FAMILIES if one.light or not given.light]
    if given.names:
        chosen = [one for one in chosen if any(one.name.lower().startswith(name.lower()) for name in given.names)]
    print(HEADER, flush=True)
    rows = []
    for entry in chosen:
        rows.append(_row(entry, given.effort, not given.no_times))
        print(rows[-1], flush=True)
    good = sum(row.good for row in rows)
    slower = [row.name for row in rows if row.theirs < row.ours]
    print(f"{good} of {len(rows)} good; slower than PyTorch: {', '.join(slower) or 'none'}")
    if given.json:
        given.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    return 0 if good == len(rows) else 1


def _row(entry: Entry, effort: int, timed: bool) -> Row:
    """A family that cannot even be made, or fails in PyTorch, is a row too."""
    try:
        return measured(entry, effort=effort, timed=timed)
    except Exception as error:
        return Row(entry.name, reason=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
