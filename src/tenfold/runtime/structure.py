"""Nested arguments and results, as plain data: how the arrays of a call lie in dicts, tuples and lists.

A node is the number of an array, or a dict with one key: "tuple" or "list" (nodes), "dict" (pairs of a key and a
node), "constant" (a value that the model was built for), "number" (an array of one element, given as a number), or
"zeros" (an array, its element type and sizes: zeros where it is left out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.errors import InputError

Node = Any

_SEQUENCES = {"tuple": tuple, "list": list}


@dataclass(frozen=True)
class Structure:
    """The parameters of a model, each with the nodes of what it takes, and the node of what it returns."""

    parameters: tuple[tuple[str, Node], ...]
    result: Node

    @classmethod
    def read(cls, data: Mapping[str, Any] | None, outputs: int) -> Structure | None:
        """What a manifest holds; None where arrays come in order and all outputs are one array, or a tuple of some."""
        if data is None:
            return None
        found = cls(tuple((name, node) for name, node in data["parameters"]), data["result"])
        nodes = [node for _, node in found.parameters]
        plain = nodes == list(range(len(nodes))) and found._returns_plainly(outputs)
        return None if plain else found

    def written(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"parameters": [list(one) for one in self.parameters], "result": self.result}

    def _returns_plainly(self, outputs: int) -> bool:
        if isinstance(self.result, int):
            return outputs == 1
        return outputs > 1 and self.result.get("tuple") == list(range(outputs))

    def arrays(self, given: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The arrays of a call in the engine's order.

        Raises InputError for an argument that is missing, unknown, given twice, or of another structure.
        """
        names = [name for name, _ in self.parameters]
        if len(given) > len(names):
            raise InputError(f"{len(given)} arguments given; the model takes {len(names)}: {', '.join(names)}")
        for name in named:
            if name not in names or name in names[: len(given)]:
                what = "is given twice" if name in names else "is none of the model's"
                raise InputError(f"argument {name!r} {what}", argument=name, remedy=f"it takes {', '.join(names)}")
        arguments = dict(zip(names, given, strict=False)) | dict(named)
        found: dict[int, Any] = {}
        for name, node in self.parameters:
            if name in arguments:
                _collect(name, node, arguments[name], found)
            elif isinstance(node, dict) and "zeros" in node:
                at, kind, sizes = node["zeros"]
                found[at] = np.zeros(sizes, kind)
            elif not _is_constant(node):
                raise InputError(f"argument {name!r} is missing", argument=name, remedy="give it")
        return [found[at] for at in sorted(found)]

    def restored(self, results: Sequence[Any]) -> Any:
        """The results of a call as the model returns them."""
        return _built(self.result, results)


def _is_constant(node: Node) -> bool:
    if not isinstance(node, dict):
        return False
    inner = node.get("tuple", node.get("list"))
    if inner is not None:
        return all(map(_is_constant, inner))
    if "zeros" in node:
        return True
    return all(_is_constant(one) for _, one in node["dict"]) if "dict" in node else "constant" in node


def _collect(path: str, node: Node, given: Any, found: dict[int, Any]) -> None:
    if isinstance(node, int):
        found[node] = given
        return
    ((kind, inner),) = node.items()
    if kind == "constant":
        if given is not inner and (np.ndim(given) or given != inner):
            raise InputError(
                f"argument {path!r} is {given!r}, and the engine was built for {inner!r}",
                argument=path,
                remedy="build another engine for it",
            )
    elif kind == "zeros":
        found[inner[0]] = given
    elif kind == "dict":
        _collect_dict(path, inner, given, found)
    elif not isinstance(given, tuple | list) or len(given) != len(inner):
        raise _misfit(path, given, f"a {kind} of {len(inner)}")
    else:
        for at, (one, value) in enumerate(zip(inner, given, strict=True)):
            _collect(f"{path}.{at}", one, value, found)


def _collect_dict(path: str, inner: Any, given: Any, found: dict[int, Any]) -> None:
    keys = [key for key, _ in inner]
    if not isinstance(given, Mapping) or set(given) != set(keys):
        raise _misfit(path, given, f"a dict of {', '.join(map(str, keys))}")
    for key, one in inner:
        _collect(f"{path}.{key}", one, given[key], found)


def _misfit(path: str, given: Any, wanted: str) -> InputError:
    came = f"a {type(given).__name__}"
    if isinstance(given, Mapping):
        came += f" of {', '.join(map(str, given))}"
    elif isinstance(given, tuple | list):
        came += f" of {len(given)}"
    return InputError(
        f"argument {path!r} is {came}, and the model takes {wanted}", argument=path, remedy=f"give {wanted}"
    )


def _built(node: Node, results: Sequence[Any]) -> Any:
    if isinstance(node, int):
        return results[node]
    ((kind, inner),) = node.items()
    if kind == "constant":
        return inner
    if kind == "number":
        return results[inner].item()
    if kind == "dict":
        return {key: _built(one, results) for key, one in inner}
    return _SEQUENCES[kind](_built(one, results) for one in inner)
