"""Descriptions, profiles and comparisons as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
SHOWN_SOURCES = 3
_TIER_STYLE = {"host": "yellow", "kernel": "green"}
Data = Mapping[str, Any]


def in_bytes(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    size, unit = float(count), 0
    while size >= 1024 and unit + 1 < len(UNITS):
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {UNITS[unit]}" if unit == 0 else f"{size:.1f} {UNITS[unit]}"


def plain(title: str | None, *columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table; the columns in `right` are aligned to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _shape(sizes: Sequence[int | str]) -> str:
    return "×".join(map(str, sizes)) or "scalar"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")


def heading(about: Data) -> Table:
    """What an engine takes and gives, for which machine, in how many pieces."""
    table = plain(None, "", "")
    table.show_header = False
    for role in ("inputs", "outputs"):
        for spec in about[role]:
            table.add_row(role[:-1], escape(f"{spec['name']}: {spec['dtype']} {_shape(spec['shape'])}"))
    for name, state in about["targets"].items():
        table.add_row("target", f"[bold]{escape(name)}[/] {escape(state.removeprefix(f'target {name} '))}")
    table.add_row("precision", escape(about["precision"]))
    table.add_row("threads", str(about["threads"] or "all usable CPUs"))
    spans = Counter(span["kind"] for span in about["spans"])
    tiers = Counter(region["tier"] for region in about["regions"])
    table.add_row("runs as", ", ".join(_counted(n, f"{kind} span") for kind, n in spans.items()))
    table.add_row("regions", ", ".join(f"{n} by {tier}" for tier, n in tiers.items()) or "none")
    return table


def inspection(about: Data, *, why: bool = False) -> Iterator[RenderableType]:
    """The parts of `tenfold inspect`, with a blank line before each."""
    name = about["model"].get("graph_name") or ""
    yield Text.assemble((about["name"], "bold"), f"  {in_bytes(about['bytes'])}, {name}".rstrip(", "))
    yield heading(about)
    yield ""
    yield regions(about["regions"], why=why)
    if why and about.get("ways"):
        yield ways(about["ways"])
    if about.get("transfers"):
        yield ""
        yield transfers(about["transfers"])
    yield ""
    yield memory(about["memory"])
    yield ""
    yield sections(about["sections"])
    if why:
        yield ""
        yield not_fused(about["not_fused"])
        yield ""
        yield source_map(about["source_map"], about["regions"])


def regions(found: Sequence[Data], *, why: bool = False) -> RenderableType:
    """Each region: what it computes, of which operators, by which tier and tactic; with `why`, what else could have
    built it and how long that took, and who refused it.
    """
    times = [region["expected_us"] for region in found if "expected_us" in region]
    shared = {"cuda", "cpu"} <= {region.get("place") for region in found}
    title = _counted(len(found), "region") + (f", {sum(times):.0f} µs expected on the GPU" if times else "")
    table = plain(title, "#", "tier", "kind", "tactic", "over", "operators", right=("#",))
    for number, region in enumerate(found):
        place = f" on {region['place']}" if shared and region["place"] != "host" else ""
        tier = f"[{_TIER_STYLE.get(region['tier'], '')}]{region['tier']}{place}[/]"
        tactic = region["tactic"] + (f": {region['expected_us']:.1f} µs" if "expected_us" in region else "")
        cells = (region["kind"], tactic, _shape(region["domain"]), sources(region["source"], all=why))
        table.add_row(str(number), tier, *map(escape, cells))
        for note in (*candidates(region), *refusals(region)) if why else ():
            table.add_row("", "", f"[dim]{escape(note)}[/]", "", "", "")
    return table


def ways(found: Sequence[Data]) -> Table:
    """The stretches that may run in several ways, the way that each takes, and how long all of them took."""
    table = plain("ways", "operators", "way")
    for stretch in found:
        table.add_row(escape(sources(stretch["source"])), escape(stretch["tactic"]))
        for note in candidates(stretch):
            table.add_row("", f"[dim]{escape(note)}[/]")
    return table


def transfers(found: Sequence[Data]) -> Table:
    """What moves between a GPU and the CPU in a call on the host's arrays: how much at usual sizes, where to, and what
    for.
    """
    known = sum(one["bytes"] or 0 for one in found)
    table = plain(f"{len(found)} transfers, {in_bytes(known)}", "value", "bytes", "to", "for", right=("bytes",))
    for one in found:
        size = "as the data say" if one["bytes"] is None else in_bytes(one["bytes"])
        table.add_row(*map(escape, (one["value"] or "a value", size, one["to"], one["for"])))
    return table


def candidates(region: Data) -> Iterator[str]:
    """What could have built a region, with times, if the clock was asked; the choice is marked."""
    for tactic, time in region.get("candidates", ()):
        said = "no time to time it" if time is None else time if isinstance(time, str) else f"{1e6 * time:.1f} µs"
        shipped = ", shipped" if region.get("shipped") else ""
        yield f"{'→' if tactic == region['tactic'] else '·'} {tactic}: {said}{shipped}"


def refusals(region: Data) -> Iterator[str]:
    """Who could not build a region, and why."""
    return (f"not {strategy}: {reason}" for strategy, reason in region["refused"])


def sources(names: Sequence[str], *, all: bool = False) -> str:
    """The operators of the user's model, the first few and no constants, if not `all`."""
    names = [name for name in names if all or not name.startswith("Constant(")]
    shown = names if all else names[:SHOWN_SOURCES]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more


def memory(found: Mapping[str, int]) -> Table:
    """What weights and arena take, beside what they would take without sharing and the least that is possible."""
    meanings = {
        "weights": "weights",
        "arena": "arena, at typical sizes",
        "sum": "all tensors without sharing",
        "lower_bound": "the most alive at one step",
    }
    table = plain("memory", "", "bytes", right=("bytes",))
    for name, count in found.items():
        table.add_row(escape(meanings.get(name, name)), in_bytes(count))
    return table


def sections(found: Mapping[str, int]) -> Table:
    """The sections of an engine file."""
    table = plain("sections", "", "bytes", right=("bytes",))
    for name, count in found.items():
        table.add_row(escape(name), in_bytes(count))
    return table


def not_fused(found: Sequence[Sequence[str]]) -> Table:
    """Neighbours that stayed apart, and why."""
    table = plain(f"not fused: {len(found)}", "from", "into", "because")
    for producer, consumer, reason in found:
        table.add_row(escape(producer), escape(consumer), escape(reason))
    return table


def source_map(found: Mapping[str, Sequence[int]], regions: Sequence[Data]) -> RenderableType:
    """Where each operator of the user's model went."""
    tree = Tree(Text("source map", style="bold"), guide_style="dim")
    for operator, numbers in found.items():
        places = ", ".join(f"#{number} {regions[number]['kind']}" for number in numbers)
        tree.add(Text.assemble(operator, (f" → {places}", "dim")))
    return tree


def arrays(inputs: Mapping[str, Data], outputs: Mapping[str, Data]) -> Table:
    """What went in and came out of a call."""
    right = ("min", "max", "mean")
    table = plain(None, "", "name", "dtype", "shape", *right, right=right)
    for role, group in (("input", inputs), ("output", outputs)):
        for name, about in group.items():
            numbers = (about.get(key) for key in right)
            shown = ("" if number is None else f"{number:.6g}" for number in numbers)
            table.add_row(role, escape(name), about["dtype"], _shape(about["shape"]), *shown)
    return table


def settings(variables: Sequence[Data], machine: Data) -> Iterator[RenderableType]:
    """The environment variables and the machine."""
    table = plain("environment", "variable", "value", "meaning")
    for one in variables:
        mark = "" if one["value"] == one["default"] else " (set)"
        table.add_row(one["variable"], escape(f"{_worded(one['value'])}{mark}"), escape(one["meaning"]))
    yield table
    yield ""
    about = plain("this machine", "", "")
    about.show_header = False
    for name, value in machine.items():
        about.add_row(name.replace("_", " "), escape(_worded(value)))
    yield about


def _worded(value: Any) -> str:
    words = {None: "–", True: "on", False: "off"}
    if value is None or isinstance(value, bool):
        return words[value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def timings(data: Data) -> RenderableType:
    """The times of an engine and its peers."""
    numbers = ("median ms", "10 %", "90 %", "times as fast")
    title = f"{data['model']} on {data['cpu']}, {data['threads']} threads, {data['target']}"
    table = plain(None, "", *numbers, right=numbers)
    for name, found in {"tenfold": data["ours"], **data["peers"]}.items():
        ratio = "" if name == "tenfold" else f"{found['median_ms'] / data['ours']['median_ms']:.2f}"
        table.add_row(name, *(f"{found[key]:.3f}" for key in ("median_ms", "p10_ms", "p90_ms")), ratio)
    if data["roofline_ms"] is not None:
        table.add_row("roofline", f"{data['roofline_ms']:.3f}", "", "", f"{data['share']:.0%} reached")
    return Group(Text(title, style="bold"), table, *map(Text, data.get("refusals", {}).values()))


def changes(data: Data) -> RenderableType:
    """What tuning an engine changed."""
    table = plain(None, "#", "kind", "before", "now", "operators", right=("#",))
    table.show_header = bool(data["changed"])
    for one in data["changed"]:
        cells = (one["kind"], one["before"], one["now"], sources(one["source"]))
        table.add_row(str(one["number"]), *map(escape, cells))
    title = f"{data['engine']}: {len(data['changed'])} of {data['regions']} regions changed in {data['seconds']:.1f} s"
    return Group(Text(title, style="bold"), table, *(Text(f"nothing was timed: {one}") for one in data["not_timed"]))


def timed(rows: Sequence[Data]) -> Table:
    """What a timing cache holds."""
    numbers = ("effort", "problems", "won")
    table = plain(None, *numbers, "machine", "versions", right=numbers)
    for row in rows:
        table.add_row(*(str(row[name]) for name in numbers), escape(row["machine"]), escape(row["versions"]))
    return table


def profile(data: Data) -> RenderableType:
    """Where the time of a call goes."""
    numbers = ("µs", "share", "roofline", "steps")
    title = f"{data['model']}: {1e3 * data['seconds']:.3f} ms in {data['steps']} steps"
    table = plain(None, *numbers, "kind", "tactic", "operators", right=numbers)
    for one in data["operators"]:
        cells = (one["kind"], one["tactic"], sources(one["operators"]))
        reached = "" if one["roofline"] is None else f"{one['roofline']:.0%}"
        figures = (f"{1e6 * one['seconds']:.1f}", f"{one['share']:.1%}", reached, str(one["steps"]))
        table.add_row(*figures, *map(escape, cells))
    return Group(Text(title, style="bold"), table)


def comparison(data: Data) -> Iterator[RenderableType]:
    """The differences of outputs and layers, and a verdict."""
    for role in ("layers", "outputs"):
        if data[role]:
            yield _differences(role, data[role], data["tolerance"])
            yield ""
    verdict = "agrees" if data["agrees"] else "differs"
    style = "bold green" if data["agrees"] else "bold red"
    line = Text.assemble((verdict, style), f" with {data['against']} within {data['tolerance']:g}")
    first = data["first_departure"]
    if first:
        line.append(f"\nthe first value beyond it: {first['value']}, made by {first['operator'] or 'the model'}")
    yield line


def _differences(role: str, found: Sequence[Data], tolerance: float) -> Table:
    table = plain(role, "difference", "value", "shape", "operator", right=("difference",))
    for one in found:
        distance = one["difference"]
        bad = distance is None or distance > tolerance
        shown = "inf" if distance is None else f"{distance:.1e}"
        table.add_row(
            f"[red]{shown}[/]" if bad else shown, escape(one["value"]), _shape(one["shape"]), escape(one["operator"])
        )
    return table
