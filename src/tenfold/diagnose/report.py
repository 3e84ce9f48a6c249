"""What an engine file says of itself, as JSON-ready data: read from its manifest, with no code mapped or run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenfold.errors import TargetError
from tenfold.runtime.format import MAJOR, MINOR, File
from tenfold.runtime.plan import Plan, Spec, from_manifest
from tenfold.runtime.spans import every_span
from tenfold.target import Target

HERE = "runs here"
"""What is said of a target whose code this machine runs."""


def describe(file: File, target: str | None = None) -> dict[str, Any]:
    """Everything `tenfold inspect` tells of an engine for one of its targets: by default one that runs here.

    TargetError if the engine has no such target.
    """
    manifest = file.manifest
    chosen = _target(manifest, target)
    entry = manifest["targets"][chosen]
    plan = from_manifest(entry["plan"], file.section(entry["plan_section"]))
    report = entry.get("report", {})
    regions = report.get("regions", [])
    sections = {name: int(about["size"]) for name, about in manifest["sections"].items()}
    weights = sum(size for name, size in sections.items() if "weights" in name)
    return {
        "name": file.name,
        "bytes": int(file.image.size),
        "format": f"{MAJOR}.{MINOR}",
        "tenfold": manifest["tenfold"],
        "model": manifest.get("model", {}),
        "precision": manifest.get("precision", "model"),
        "threads": manifest.get("threads"),
        "targets": {name: Target.parse(name)[0].refusal() or HERE for name in manifest["targets"]},
        "target": chosen,
        "inputs": [_spec(spec) for spec in plan.given],
        "outputs": [_spec(spec) for spec in plan.returned],
        "state": [_spec(one.spec) for one in plan.carried],
        "spans": _spans(plan),
        "regions": regions,
        "ways": report.get("ways", []),
        "transfers": report.get("transfers", []),
        "memory": {"weights": weights, **report.get("memory", {})},
        "not_fused": report.get("not_fused", []),
        "source_map": _source_map(regions),
        "sections": sections,
    }


def summary(about: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a description that `tenfold build` tells."""
    kept = ("target", "targets", "precision", "threads", "inputs", "outputs", "memory")
    tiers = [region["tier"] for region in about["regions"]]
    return {name: about[name] for name in kept} | {
        "regions": len(tiers),
        "host_steps": tiers.count("host"),
        "native_spans": sum(span["kind"] == "native" for span in about["spans"]),
    }


def _target(manifest: Mapping[str, Any], wanted: str | None) -> str:
    names: list[str] = list(manifest["targets"])
    if wanted is None:
        return next((name for name in names if Target.parse(name)[0].runs_here()), names[0])
    found = str(Target.parse(wanted)[0].portable)
    if found not in names:
        raise TargetError(f"the engine is not for {found}", argument="target", remedy=f"it is for {', '.join(names)}")
    return found


def _spec(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype.name, "shape": list(spec.shape)}


def _spans(plan: Plan) -> list[dict[str, Any]]:
    return [
        {"kind": "native", "steps": span.end - span.begin}
        if span.is_native
        else {"kind": "host" if span.host else "walked", "operators": list(span.label.source) if span.label else []}
        for span in every_span(plan.spans)
    ]


def _source_map(regions: list[dict[str, Any]]) -> dict[str, list[int]]:
    """For each operator of the user's model, the numbers of the regions that compute it."""
    found: dict[str, list[int]] = {}
    for number, region in enumerate(regions):
        for operator in region["source"]:
            found.setdefault(operator, []).append(number)
    return found
