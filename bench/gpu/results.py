"""Rows of whole networks on one GPU, merged by network, batch and versions, and the table that shows the newest.

`python -m bench.gpu.results gpu.jsonl …` takes the rows that `python -m bench gpu` wrote into bench/results.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cpu.results import plot
from tenfold.runtime.cuda.product import VENDORS

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]

GOALS: Mapping[tuple[str, int], str] = {
    ("resnet50", 1): "1.8x",
    ("resnet50", 8): "1.6x",
    ("resnet50", 128): "1.8x",
    ("bert", 1): "2x",
    ("bert", 8): "1.8x",
    ("bert", 64): "1.6x",
    ("bert384", 8): "2x",
    ("bert-large", 8): "1.5x",
    ("vit", 1): "2x",
    ("vit", 8): "1.5x",
    ("vit", 64): "1.4x",
    ("vit-large", 8): "1.3x",
    ("gpt2-512", 1): "1.3x",
    ("llama-512", 1): "1.3x",
    ("llama-decode", 1): "0.845 ms",
    ("whisper", 1): "1.3x",
    ("bert-large384", 64): "1.5x",
    ("swin", 8): "1.3x",
    ("unet", 2): "1.3x",
    **{(name, batch): "1.6x" for name in ("efficientnet_b0", "mobilenet_v2", "convnext_t") for batch in (1, 8, 64)},
}

HEAD = """# Whole networks on one {gpu}, f16

{versions}; `python -m bench gpu`. Milliseconds of a call, inputs on the GPU, between events over 60 calls, median
of 7. Error: norm-wise, against float64. TFLOP/s, GB/s: of what the regions must do at least;
share: of the roofline, the sum over regions of max(FLOP / peak, bytes / bandwidth), both measured in the run. cuBLASLt:
the share of the time that its kernels take; own: milliseconds without it. Call: microseconds of the CPU for a call, of
ten in a row that begin with the GPU idle, the least of the day's runs, since others use the host too. Peers: PyTorch
eager in a CUDA graph, and torch.compile (max-autotune), in the same process as ours; in brackets: of another run.
Ratio: to torch.compile, or to eager (e) where that was not measured; *: while other processes compiled. Day: rows of
different days are of different machines of the kind.

![ratios]({plot})

"""
COLUMNS = (
    *("network", "batch", "ours", "error", "TFLOP/s", "GB/s", "share", "kernels", "cuBLASLt", "own", "call µs"),
    *("eager", "torch.compile", "ratio", "goal", "day"),
)


VERSIONS = ("driver", "torch", "triton", "tenfold")


def key(row: Row) -> tuple[str, int]:
    """What names a row of the table."""
    return row["network"], row["batch"]


def identity(row: Row) -> tuple[Any, ...]:
    """What a newer row must share with an older one to take its place: the versions that it was measured with, too."""
    about = row.get("about", {})
    return *key(row), *(about.get(name, "") for name in VERSIONS)


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Rows by name and versions; a newer one takes the place of an older. If it has no peers it keeps those of the
    older one, which then are `of_another_run`; so with the time without a vendor's kernels, and the least time of a
    call on its day. An anchor that was measured once more only adds its time to its row.
    """
    found = {identity(row): row for row in old}
    for row in new:
        before = found.get(identity(row), {})
        if row.get("anchor") and before:
            before["again"] = [*before.get("again", ()), row["ms"]]
            continue
        known, own = before.get("peers"), {name: before[name] for name in ("own_ms", "again") if name in before}
        another = {"peers": known, "of_another_run": True} if known and not row.get("peers") else {}
        found[identity(row)] = own | row | another | least_call(before, row)
    return [found[name] for name in sorted(found)]


def newest(rows: Iterable[Row]) -> list[Row]:
    """The row of the last day for each network and batch: what the table shows."""
    return list({key(row): row for row in sorted(rows, key=lambda row: (*key(row), day(row)))}.values())


def least_call(before: Row, row: Row) -> Row:
    """The least time that the CPU took for a call, of two runs on one day."""
    timed = [one for one in (before, row) if "call_us" in one and day(one) == day(row)]
    least = min(timed, key=lambda one: float(one["call_us"]), default=row)
    return {name: least[name] for name in ("call_us", "call_alone_us") if name in least}


def day(row: Row) -> str:
    """When a row was measured."""
    return str(row.get("about", {}).get("date", "earlier"))


def vendor_share(parts: Sequence[Mapping[str, Any]]) -> float:
    """The share of the kernels' time that a library's take."""
    vendor = sum(part["us"] for part in parts if part["tactic"].startswith(VENDORS))
    return float(vendor / max(sum(part["us"] for part in parts), 1e-9))


def milliseconds(row: Row, peer: str) -> float | None:
    """A peer's time."""
    found = (row.get("peers") or {}).get(peer)
    found = found.get("ms") if isinstance(found, dict) else found
    return found if isinstance(found, float) else None


def ratio(row: Row) -> tuple[float, str] | None:
    """How many times as long the best known peer takes."""
    compiled = milliseconds(row, "torch.compile")
    if compiled:
        return compiled / row["ms"], ""
    eager = milliseconds(row, "eager")
    return (eager / row["ms"], " (e)") if eager else None


def compared(row: Row, peer: str) -> str:
    """What a peer took, and how many times ours that is; or why it gave nothing."""
    found = row["peers"][peer]
    if "ms" not in found:
        return f"    {peer}: {found['failure']}"
    words = f"{found['ms']:8.3f} ms  error {found['error']:.1e}  ready after {found['ready_s']:.0f} s"
    return f"    {peer:14} {words}  {found['ms'] / row['ms']:.2f} times ours"


def line(row: Row) -> str:
    """A row of the table."""
    found, ms, another = ratio(row), row["ms"], row.get("of_another_run", False)
    eager, compiled = milliseconds(row, "eager"), milliseconds(row, "torch.compile")
    vendor = vendor_share(row["parts"])
    cells = (
        row["network"], row["batch"], f"{ms:.3f}", f"{row['error']:.1e}",
        _shown(row.get("flops"), 1e9 * ms, ".0f"), _shown(row.get("bytes"), 1e6 * ms, ".0f"),
        _shown(row.get("roofline_ms"), ms, ".0%"), row["kernels"],
        _shown(vendor, 1, ".0%"),
        _shown(row.get("own_ms") if vendor else ms, 1, ".3f"), _shown(row.get("call_us"), 1, ".0f"),
        _peer(eager, another), _peer(compiled, another),
        f"{found[0]:.2f}{found[1]}{' *' if row.get('turns') else ''}" if found else "—", GOALS.get(key(row), "—"),
        day(row),
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |\n"


def _shown(number: float | None, unit: float, form: str) -> str:
    return "—" if number is None or not unit else format(number / unit, form)


def _peer(ms: float | None, another: bool) -> str:
    """A peer's time, in brackets if another run measured it."""
    return "—" if ms is None else f"({ms:.3f})" if another else f"{ms:.3f}"


def name_of(row: Row) -> str:
    """The GPU that a row was measured on, in a word."""
    return re.sub(r"[^a-z0-9]+", "-", row.get("about", {}).get("gpu", "h200").lower().removeprefix("nvidia "))


def merge(paths: Iterable[Path], folder: Path = RESULTS) -> None:
    """Take rows into bench/results: JSON, table and plot for each GPU."""
    new = [json.loads(text) for one in paths for text in one.read_text().splitlines()]
    for name in dict.fromkeys(map(name_of, new)):
        path = folder / f"gpu-{name}.json"
        old = json.loads(path.read_text()) if path.exists() else []
        rows = merged(old, (row for row in new if name_of(row) == name))
        path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
        path.with_suffix(".md").write_text(page(newest(rows), path.with_suffix(".svg").name))
        ratios = [(f"{row['network']} {row['batch']}", found[0]) for row in newest(rows) if (found := ratio(row))]
        path.with_suffix(".svg").write_text(plot(ratios))


def page(rows: Sequence[Row], picture: str) -> str:
    """The table with what it says and was measured with."""
    about = max((row.get("about", {}) for row in rows), key=lambda one: str(one.get("date", "")))
    gpu = about.get("gpu", "NVIDIA H200")
    told = ", ".join((gpu, *(f"{name} {about[name]}" for name in VERSIONS[:3] if name in about)))
    table = [f"| {' | '.join(COLUMNS)} |\n", "|---" * len(COLUMNS) + "|\n", *map(line, rows)]
    return HEAD.format(gpu=gpu.removeprefix("NVIDIA "), versions=told, plot=picture) + "".join(
        [*table, *map(anchor, rows)]
    )


def anchor(row: Row) -> str:
    """What the row that every run measures took in other runs."""
    times = ", ".join(f"{ms:.3f}" for ms in row.get("again", ()))
    return f"\nThe anchor, {row['network']} at batch {row['batch']}, in other runs: {times} ms.\n" if times else ""


if __name__ == "__main__":
    merge(map(Path, sys.argv[1:]))
