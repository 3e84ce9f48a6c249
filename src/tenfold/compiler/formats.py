"""Formats: how the caller's arrays differ from the inputs and outputs that the model declares."""

from __future__ import annotations

from collections.abc import Mapping

from tenfold.errors import OptionError
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Value
from tenfold.ir.type import Type
from tenfold.ops.logic import Cast
from tenfold.ops.movement import Transpose
from tenfold.options import usual_name

Formats = Mapping[str, str]
"""By the name of an input or output, words: an element type ("f16"), "channels_last" (axis 1 comes last), or both."""

CHANNELS_LAST = "channels_last"


def reformat(graph: Graph, formats: Formats) -> None:
    """Let inputs and outputs lie as their formats say; the model's own types and orders of axes begin behind them.

    Raises OptionError for a name that the graph has not, a word that is no format, and what cannot be converted.
    """
    if not isinstance(formats, Mapping):
        remedy = 'give a dict by the names of inputs and outputs: {"image": "f16 channels_last"}'
        raise OptionError(f"formats is {formats!r}", argument="formats", remedy=remedy)
    known = {value.name for value in graph.inputs} | set(graph.output_names)
    for name in formats:
        if name not in known:
            raise OptionError(
                f"the model has no input or output {name!r}",
                argument="formats",
                remedy=f"it has {', '.join(sorted(known))}",
            )
    kept = {name for one in graph.carried for name in (one.input, one.output)}
    for name in kept & set(formats):
        raise OptionError(f"a context keeps {name!r}", argument="formats", remedy="leave it out: it is state")
    for value in tuple(graph.inputs):
        if value.name in formats:
            _feed(graph, value, formats[value.name])
    ends = [
        _given(value, name, formats[name]) if name in formats else value
        for name, value in zip(graph.output_names, graph.outputs, strict=True)
    ]
    graph.set_outputs(ends, graph.output_names)


def _feed(graph: Graph, value: Value, words: str) -> None:
    dtype, last = _parsed(value.name, words, value.type)
    order = _last(value.type.rank) if last else tuple(range(value.type.rank))
    shape = tuple(value.type.shape[axis] for axis in order)
    given = Value(Type(dtype, shape), name=value.name)
    graph.inputs[graph.inputs.index(value)] = given
    back = tuple(order.index(axis) for axis in range(len(order)))
    graph.replace_uses(value, _cast(Transpose(back)(given) if last else given, value.type.dtype))


def _given(value: Value, name: str, words: str) -> Value:
    dtype, last = _parsed(name, words, value.type)
    found = _cast(value, dtype)
    return Transpose(_last(value.type.rank))(found) if last else found


def _cast(value: Value, dtype: DType) -> Value:
    return value if value.type.dtype is dtype else Cast(dtype)(value)


def _last(rank: int) -> tuple[int, ...]:
    """The axes in the order that channels_last has."""
    return (0, *range(2, rank), 1)


def _parsed(name: str, words: object, type: Type) -> tuple[DType, bool]:
    """The element type and whether channels come last."""
    parts = words.split() if isinstance(words, str) else []
    last, types = CHANNELS_LAST in parts, [one for one in parts if one != CHANNELS_LAST]
    named = [one for one in dt.ALL if one.name in types]
    once = bool(parts) and len(types) < 2 and len(parts) - len(types) < 2
    _require(once and len(named) == len(types), name, words, "is no format")
    _require(not last or type.rank > 2, name, words, f"needs an axis of channels and others behind it, not {type}")
    dtype = named[0] if named else type.dtype
    numbers = all(not one.is_object and one.kind is not dt.Kind.COMPLEX for one in (dtype, type.dtype))
    _require(dtype is type.dtype or numbers, name, words, f"cannot stand for {type}")
    return dtype, last


def _require(holds: bool, name: str, words: object, problem: str) -> None:
    if not holds:
        meant = " ".join(map(_usual, words.split())) if isinstance(words, str) else ""
        guessed = meant != words and {CHANNELS_LAST, *(one.name for one in dt.ALL)}.issuperset(meant.split())
        advice = 'write an element type, "channels_last", or both: "f16 channels_last"'
        raise OptionError(
            f"the format {words!r} of {name!r} {problem}",
            argument="formats",
            remedy=f"did you mean {meant!r}?" if meant and guessed else advice,
        )


def _usual(word: str) -> str:
    return CHANNELS_LAST if word.lower() in ("nhwc", "hwc", "nwc", "ndhwc", "channels-last") else usual_name(word)
