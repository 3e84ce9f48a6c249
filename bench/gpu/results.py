"""Rows of whole networks on one GPU, merged by network and batch, and the table that shows them.

`python -m bench.gpu.results gpu.jsonl …` takes the rows that `python -m bench gpu` wrote into bench/results.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]

COMPILED: Mapping[tuple[str, int], float] = {
    ("resnet50", 1): 0.438,
    ("resnet50", 8): 0.626,
    ("resnet50", 128): 4.89,
    ("bert", 1): 0.612,
    ("bert", 8): 1.10,
    ("bert", 64): 4.63,
    ("bert384", 8): 2.76,
    ("bert-large", 8): 2.65,
    ("vit", 1): 0.555,
    ("vit", 8): 1.09,
    ("vit", 64): 5.97,
    ("convnext_t", 8): 0.864,
    ("efficientnet_b0", 8): 0.699,
    ("mobilenet_v2", 8): 0.438,
}
"""Milliseconds of torch.compile, max-autotune, measured in another run."""

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
    **{(name, batch): "1.6x" for name in ("efficientnet_b0", "mobilenet_v2", "convnext_t") for batch in (1, 8, 64)},
}

HEAD = """# Whole networks on one H200, f16

2026-11-21, NVIDIA H200, torch 2.11.0+cu130, Triton 3.6.0; `python -m bench gpu`, effort 1. Milliseconds of a call,
inputs on the GPU, between events over 60 calls, median of 7. Error: norm-wise, against f32 (ONNX Runtime) or float64.
Eager: PyTorch in a CUDA graph, same process as one of our runs. torch.compile (max-autotune) in brackets was measured
in another run. Ratio: to torch.compile, or to eager (e) where that was not measured. cuBLASLt: the share of the
time that its kernels take.

| network | batch | ours | error | kernels | cuBLASLt | eager | torch.compile | ratio | goal |
|---|---|---|---|---|---|---|---|---|---|
"""


def key(row: Mapping[str, Any]) -> tuple[str, int]:
    """What names a row."""
    return row["network"], row["batch"]


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Rows by name; a newer one takes the place of an older, and keeps its peers if it has none."""
    found = {key(row): row for row in old}
    for row in new:
        peers = row.get("peers") or found.get(key(row), {}).get("peers")
        found[key(row)] = row | ({"peers": peers} if peers else {})
    return [found[name] for name in sorted(found)]


def line(row: Row) -> str:
    """A row of the table."""
    peers = row.get("peers") or {}
    eager, here = peers.get("eager"), peers.get("torch.compile")
    known = COMPILED.get(key(row))
    compiled = here if isinstance(here, float) else known
    shown = f"{here:.3f}" if isinstance(here, float) else f"({known:.3f})" if known else "—"
    ratio = f"{compiled / row['ms']:.2f}" if compiled else f"{eager / row['ms']:.2f} (e)" if eager else "—"
    total = sum(part["us"] for part in row["parts"])
    vendor = sum(part["us"] for part in row["parts"] if part["tactic"].startswith("cublas"))
    share = f"{vendor / total:.0%}" if total else "—"
    return (
        f"| {row['network']} | {row['batch']} | {row['ms']:.3f} | {row['error']:.1e} | {row['kernels']} | {share} | "
        f"{f'{eager:.3f}' if eager else '—'} | {shown} | {ratio} | {GOALS.get(key(row), '—')} |\n"
    )


def main() -> None:
    """Merge the files that are named."""
    path = RESULTS / "gpu-h200.json"
    new = [json.loads(text) for name in sys.argv[1:] for text in Path(name).read_text().splitlines()]
    rows = merged(json.loads(path.read_text()) if path.exists() else [], new)
    path.write_text(json.dumps(rows) + "\n")
    (RESULTS / "gpu-h200.md").write_text(HEAD + "".join(map(line, rows)))


if __name__ == "__main__":
    main()
