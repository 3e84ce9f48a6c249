"""Steps before and after a model, and the model, as one graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from tenfold.errors import OptionError
from tenfold.importers import open_model
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size, symbol
from tenfold.ir.graph import Graph, Value, copy, inline
from tenfold.ir.substitute import substitute
from tenfold.ir.type import Type, numbered_unknowns
from tenfold.ops.movement import Transpose
from tenfold.pipeline.answers import Answers
from tenfold.pipeline.picture import Needs, Picture, Span
from tenfold.pipeline.term import Term
from tenfold.rewrite.rule import specialise
from tenfold.runtime.engine import Engine

Before = Callable[[Picture], Picture]
After = Callable[[Answers], Answers]
Layout = Literal["NCHW", "NHWC"]


def join(
    model: Any,
    *,
    before: Sequence[Before] = (),
    after: Sequence[After] = (),
    labels: Sequence[str] | None = None,
    input: str | None = None,
    layout: Layout = "NCHW",
    channels: int = 3,
    batch: bool = False,
    **opening: Any,
) -> Graph:
    """A graph for `tenfold.build` that takes images u8 and gives what the last step gives.

    `model` and `opening` are what `tenfold.build` takes (`shapes`, `dims`, `outputs`, `example_inputs`, `data_root`).
    `before` are steps on a picture, in order, up to the model's `input` (its first if None), which lies as `layout`
    says; without any the model's inputs stay. The image is "image" u8 [H, W, channels], of any H and W, or with `batch`
    [N, H, W, channels]: as many of one size. `after` are steps on the model's results. Results of one image have no
    batch axis. `labels` are kept in the engine: `labels_of(engine)`.

    Raises OptionError for steps that do not fit each other or the model, and what `tenfold.build` raises for the model.
    """
    with numbered_unknowns():
        inner = copy(model) if isinstance(model, Graph) else open_model(model, **opening)
        graph = Graph(name=inner.name)
        picture = _seen(graph, before, channels, batch) if before else None
        fed = _fed(inner, input, picture, layout) if picture else {}
        given = [fed[one] if one in fed else graph.input(one.name, one.type) for one in inner.inputs]
        found = inline(inner, given)
        results = {name: Term(value) for name, value in zip(inner.output_names, found, strict=True)}
        answers = Answers(results, picture)
        for step in after:
            answers = step(answers)
        outputs = {
            name: term if batch or not picture or name in answers.ragged else _alone(term)
            for name, term in answers.results.items()
        }
        graph.set_outputs([term.value for term in outputs.values()], list(outputs))
    graph.assumptions = (*inner.assumptions, *(picture.needs if picture else ()))
    graph.decisions, graph.weights = inner.decisions, inner.weights
    graph.metadata = _with_labels(inner.metadata, labels)
    return graph


def labels_of(engine: Engine) -> list[str]:
    """The labels that `join` kept in an engine; none if it had none."""
    kept = engine.manifest.get("model", {}).get("custom_metadata_map", {})
    found: list[str] = json.loads(kept.get("labels", "[]"))
    return found


def _seen(graph: Graph, before: Sequence[Before], channels: int, batch: bool) -> Picture:
    """The image as the model sees it."""
    height, width = symbol("image.height", 1), symbol("image.width", 1)
    count: Size = symbol("image.batch", 1) if batch else 1
    shape = (height, width, channels)
    image = Term(graph.input("image", Type(dt.u8, (count, *shape) if batch else shape)))
    picture = Picture(image.reshape(count, *shape), Span.whole(height), Span.whole(width))
    for step in before:
        picture = step(picture)
    return picture


def _fed(inner: Graph, name: str | None, picture: Picture, layout: Layout) -> dict[Value, Value]:
    """The input of a model that pixels go into, and they as it takes them; its sizes become those of the picture."""
    names = [value.name for value in inner.inputs]
    if not names or name not in (None, *names):
        remedy = f"its inputs are {', '.join(names)}" if names else "join needs a model with inputs"
        raise OptionError(f"the model has no input {name!r}", argument="input", remedy=remedy)
    target = inner.inputs[0 if name is None else names.index(name)]
    pixels: Value = picture.pixels.value
    if layout == "NCHW":
        pixels = Transpose((0, 3, 1, 2))(pixels)
    if target.type.rank != 4:
        raise OptionError(f"the model's input {target.name!r} is {target.type}, no image", argument="input")
    pixels = Term(pixels).cast(target.type.dtype).value
    learned: dict[str, Size] = {}
    needs: Needs = ()
    for wanted, size in zip(target.type.shape, pixels.type.shape, strict=True):
        if isinstance(wanted, Dim) and wanted.symbol and wanted.symbol.name not in learned:
            learned[wanted.symbol.name] = size
            needs += tuple((one, f"input {target.name!r} of the model") for one in _within(wanted, size))
        else:
            needs += ((dim.equal(substitute(wanted, learned), size), f"input {target.name!r} of the model"),)
    if any(condition == 0 for condition, _ in needs):
        raise OptionError(
            f"the model's input {target.name!r} is {target.type}, and the steps before it give {pixels.type}",
            argument="before",
            remedy=f"check their sizes and channels, and layout={layout!r}",
        )
    specialise(inner, learned)
    inner.assumptions = (*inner.assumptions, *(one for one in needs if one[0] != 1))
    return {target: pixels}


def _within(wanted: Dim, size: Size) -> Iterator[Size]:
    """What a size must fulfil to stand for a symbol."""
    assert wanted.symbol is not None
    low, high, multiple = wanted.symbol.low, wanted.symbol.high, wanted.symbol.multiple
    if low is not None:
        yield dim.less_equal(low, size)
    if high is not None:
        yield dim.less_equal(size, high)
    yield dim.equal(size % multiple, 0)


def _alone(term: Term) -> Term:
    """A result of one image without its batch axis."""
    return term.reshape(*term.shape[1:]) if term.shape and term.shape[0] == 1 else term


def _with_labels(metadata: dict[str, Any], labels: Sequence[str] | None) -> dict[str, Any]:
    if labels is None:
        return metadata
    kept = {**metadata.get("custom_metadata_map", {}), "labels": json.dumps(list(labels), ensure_ascii=False)}
    return {**metadata, "custom_metadata_map": kept}
