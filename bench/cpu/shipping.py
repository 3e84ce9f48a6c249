"""What is shipped for a kind of CPU: where the clock was clearly of another mind than the cost model.

    python -m bench.cpu.shipping BUNDLE.json…

takes bundles that `tenfold timings export` wrote, and adds to the files in tenfold/compiler/choices.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tenfold.compiler import choices
from tenfold.compiler.timings import Entry, Timings

CLEAR = 0.06
"""The share by which a choice must be faster than the cost model's to be shipped."""


def clear(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of CPUs whose choice is clearly faster than the first candidate."""
    found = []
    for entry in entries:
        first = next(iter(entry.times.values()))
        if entry.problem.startswith("cpu ") and isinstance(first, float) and entry.gain > CLEAR * first:
            found.append(entry)
    return found


def ship(bundles: Sequence[Path]) -> dict[str, int]:
    """Add what bundles found; how many choices each file holds then."""
    known = Timings()
    for bundle in bundles:
        known.merge(bundle)
    entries = clear(known.entries())
    files = sorted({choices.file_for(entry.problem) for entry in entries})
    return {name: choices.write(choices.FOLDER / name, entries) for name in files}


if __name__ == "__main__":
    for name, count in ship([Path(word) for word in sys.argv[1:]]).items():
        sys.stdout.write(f"{name}: {count} choices\n")
