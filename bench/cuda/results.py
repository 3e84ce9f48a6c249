"""`python -m bench.cuda.results all.json …` takes what `python -m bench cuda` wrote into bench/results: a work's newer
rows take the place of its older ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]

HEAD = """# Generated kernels on one H200, f16

{versions}; `PYTHONPATH=src:. python -m bench cuda`.
Medians of 11 turns in which our best four variants and all peers replay their graphs one after the other; inputs rotate
through 256 MB at least (cold weights); every variant within 3.3e-4 of float64, outputs poisoned. "early": launched with
programmatic dependent launch. Ratio: best peer over ours; products by generated kernels alone, beside cuBLAS and
cuBLASLt with the second matrix as it is and turned (nt). A copying kernel reached {copy}. All
variants, swept ones too, stand in cuda-h200.json.

| work | ours µs | early µs | best peer µs | peer | ratio | ratio, early | ours reaches | ours |
|---|---|---|---|---|---|---|---|---|
"""


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Works in the old order, new ones behind."""
    fresh = {row["work"] for row in new}
    works = dict.fromkeys(row["work"] for row in (*old, *new))
    return [row for work in works for row in (new if work in fresh else old) if row["work"] == work]


def line(work: str, rows: Iterable[Row]) -> str:
    """A row of the table."""
    timed = sorted((row for row in rows if row["us"] and "why" not in row), key=lambda row: row["us"])
    ours = [row for row in timed if "(" in row["variant"]]
    plain, early = (
        next((row for row in ours if row["variant"].endswith(" early") is is_early), None) for is_early in (False, True)
    )
    peer, best = next(row for row in timed if "(" not in row["variant"]), ours[0]
    ratios = (f"{peer['us'] / one['us']:.3f}" if one else "—" for one in (plain, early))
    times = (f"{one['us']:.2f}" if one else "—" for one in (plain, early))
    reached = f"{best['tflops']:.0f} TFLOP/s, {best['gb_s']:.0f} GB/s"
    cells = (work, *times, f"{peer['us']:.2f}", peer["variant"], *ratios, reached, best["variant"])
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Merge the files that are named."""
    path = RESULTS / "cuda-h200.json"
    about = json.loads(path.read_text())
    for name in sys.argv[1:]:
        found = json.loads(Path(name).read_text())
        rows, ceilings = merged(about["rows"], found["rows"]), about["ceilings"] | found["ceilings"]
        about = found | {"rows": rows, "ceilings": ceilings}
    path.write_text(json.dumps(about, indent=1) + "\n")
    told = ", ".join(str(about[key]) for key in ("date", "gpu")) + f", torch {about['torch']}, Triton {about['triton']}"
    copies = [speed / 1e3 for speed in about["ceilings"].values()]
    works = dict.fromkeys(row["work"] for row in about["rows"])
    lines = [line(work, [row for row in about["rows"] if row["work"] == work]) for work in works]
    head = HEAD.format(versions=told, copy=f"{min(copies):.2f} to {max(copies):.2f} TB/s")
    path.with_suffix(".md").write_text(head + "".join(lines))


if __name__ == "__main__":
    main()
