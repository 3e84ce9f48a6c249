"""The results of one kind of CPU: a JSON file that runs add to, and the table and the plot drawn from it."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cpu.promises import PROMISES
from bench.cpu.rows import GROUPS, ROWS, Row, Want
from tenfold.codegen.cpu.isa import machine_caches
from tenfold.target import Target, machine_flags
from tenfold.version import __version__

FOLDER = Path(__file__).parents[1] / "results"
Data = dict[str, Any]
_EXTENSIONS = ("avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def machine() -> Data:
    """What decides this machine's figures: model, instruction set, caches, CPUs it may use."""
    about = _cpuinfo()
    features = [name for name in _EXTENSIONS if name in machine_flags()]
    return {
        "model": about.get("model name", platform.machine()),
        "family": " ".join(f"{word} {about[word]}" for word in ("cpu family", "model", "stepping") if word in about),
        "isa": " ".join([Target.host().level, *features]),
        "caches": machine_caches(),
        "cpus": len(os.sched_getaffinity(0)),
    }


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="ascii", errors="replace").split("\n\n")[0].splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


class Results:
    """The file of this kind of CPU in `folder`: for each number of threads and each row, the last measurement."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.about = machine()
        words = re.findall(r"[a-z0-9]+", f"{self.about['model']} {self.about['family']}".lower())
        kept = [word for word in words if word not in ("r", "tm", "cpu", "family", "model", "stepping", "processor")]
        self.path = folder / f"cpu-{'-'.join(kept)}.json"
        self.rows: dict[str, dict[str, Data]] = {}
        if self.path.exists():
            self.rows = json.loads(self.path.read_text())["threads"]

    def measured(self, row: str, threads: int) -> Data | None:
        """The last measurement of a row."""
        return self.rows.get(str(threads), {}).get(row)

    def add(self, row: str, threads: int, found: Data) -> None:
        """Take a measurement in, and write the file, the table and the plot anew. An error doesn't take the place of a
        measurement.
        """
        known = self.measured(row, threads)
        if "error" in found and known and "error" not in known:
            return
        stamp = {"date": datetime.date.today().isoformat(), "tenfold": __version__}
        self.rows.setdefault(str(threads), {})[row] = stamp | found
        self.write()

    def write(self) -> None:
        """Write the file, the table and the plot, each whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.path, json.dumps({"machine": self.about, "threads": self.rows}, indent=1, sort_keys=True) + "\n")
        _replace(self.path.with_suffix(".md"), "\n".join(self.markdown()) + "\n")
        for threads in self.rows:
            _replace(self.path.with_name(f"{self.path.stem}-{threads}.svg"), plot(self.ratios(threads)))

    def ratios(self, threads: str) -> list[tuple[str, float]]:
        """Each timed row with its ratio, in the table's order."""
        found = self.rows[threads]
        return [(row.name, found[row.name]["ratio"]) for row in ROWS if found.get(row.name, {}).get("ratio")]

    def markdown(self) -> Iterator[str]:
        """The page: the machine, then a table for each number of threads."""
        caches = ", ".join(f"{name.upper()} {size >> 10} KiB" for name, size in sorted(self.about["caches"].items()))
        yield f"# {self.about['model']}"
        yield f"\n{self.about['family']}; {self.about['isa']}; {caches}; {self.about['cpus']} CPUs."
        yield "`python -m bench cpu`: medians in milliseconds by turns in one process. Ratio: best peer over ours."
        yield "Share: of the roofline, Σ over regions of max(FLOP / peak, bytes / bandwidth), both measured in the run."
        for threads in sorted(self.rows, key=int):
            yield f"\n## {threads} threads\n\n![ratios]({self.path.stem}-{threads}.svg)\n"
            yield from self._table(self.rows[threads])
            yield from self._promises(self.rows[threads])

    def _table(self, found: Mapping[str, Data]) -> Iterator[str]:
        names = list(dict.fromkeys(name for one in found.values() for name in one.get("peers", {})))
        yield _cells("row", "ours", *names, "ratio", "wanted", "GFLOP/s", "share", "distance", "date")
        yield "|---" + "|---:" * (len(names) + 7) + "|"
        for group, want in GROUPS.items():
            rows = [row for row in ROWS if row.group == group and row.name in found]
            for row in rows:
                yield _line(row, found[row.name], names)
            ratios = [found[row.name]["ratio"] for row in rows if found[row.name].get("ratio")]
            if len(ratios) > 1 and want.ratio:
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                numbers = (f"**{mean:.2f}**", f"{want.ratio:.2f}")
                yield _cells(f"**{group}**, geometric mean", "", *[""] * len(names), *numbers, "", "", "", "")

    def _promises(self, found: Mapping[str, Data]) -> Iterator[str]:
        rows = [promise for promise in PROMISES if promise.name in found]
        if rows:
            yield "\n| promise | measured | wanted | date |\n|---|---:|---:|---|"
        for promise in rows:
            one = found[promise.name]
            shown = one.get("error") or f"{one['value']:.3g} {promise.unit}"
            yield f"| {promise.meaning} | {shown} | {promise.wanted} | {one['date']} |"


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _line(row: Row, one: Data, names: Sequence[str]) -> str:
    if "error" in one:
        return _cells(row.name, one["error"].replace("|", "/"), *[""] * (len(names) + 5), one["date"])
    return _cells(
        row.name,
        f"{one['ours']['median_ms']:.3f}",
        *(_shown(one["peers"].get(name), ".3f") for name in names),
        _shown(one["ratio"], ".2f"),
        _wanted(GROUPS[row.group]),
        _shown(one.get("gflops"), ".0f"),
        _shown(one.get("share"), ".0%"),
        _shown(one.get("distance"), ".0e"),
        one["date"],
    )


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _wanted(want: Want) -> str:
    ratios = [f"{want.ratio:.2f}"] if want.ratio else []
    return " or ".join([*ratios, *([f"{want.share:.0%}"] if want.share else [])])


def plot(ratios: Sequence[tuple[str, float]], width: int = 720, height: int = 18) -> str:
    """A bar for each row as an SVG: best peer over ours, with a line where both are equal."""
    left, most = 180, max([2.0, *(ratio for _, ratio in ratios)])
    scale = (width - left - 60) / most
    bars = []
    for number, (name, ratio) in enumerate(ratios):
        y, colour = number * height + 24, "#2a7" if ratio >= 1 else "#c53"
        bars.append(f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">{name}</text>')
        bars.append(f'<rect x="{left}" y="{y + 2}" width="{ratio * scale:.1f}" height="{height - 5}" fill="{colour}"/>')
        bars.append(f'<text x="{left + ratio * scale + 4:.1f}" y="{y + 12}">{ratio:.2f}</text>')
    bottom = len(ratios) * height + 30
    line = f'<line x1="{left + scale:.1f}" x2="{left + scale:.1f}" y1="18" y2="{bottom}" stroke="#333"/>'
    title = f'<text x="{left}" y="12">best peer / Tenfold, more is better</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom}" font-family="sans-serif"'
    return "\n".join([f'{head} font-size="11">', title, *bars, line, "</svg>", ""])


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
