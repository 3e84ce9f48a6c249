"""PyTorch's nested arguments and results as plain data, with a name for every tensor by its path."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from tenfold.errors import UnsupportedError
from tenfold.runtime.structure import Node

PLAIN = (bool, int, float, str, type(None))


def leaf_paths(path: str, tree: Any) -> list[tuple[str, Any]]:
    """The leaves of nested containers, each with its path: "cache.0.key"."""
    found = children(tree)
    if found is None:
        return [(path, tree)]
    return [leaf for key, child in found[1] for leaf in leaf_paths(joined(path, key), child)]


def joined(path: str, key: Any) -> str:
    """A path with another key."""
    return f"{path}.{key}" if path else str(key)


def children(tree: Any) -> tuple[str, list[tuple[Any, Any]]] | None:
    """The kind of a container ("tuple", "list", "dict") and what it holds; None for a leaf."""
    if type(tree) in (tuple, torch.Size):
        return "tuple", list(enumerate(tree))
    if isinstance(tree, list):
        return "list", list(enumerate(tree))
    if isinstance(tree, Mapping):
        return "dict", list(tree.items())
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return "dict", [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return "dict", list(zip(tree._fields, tree, strict=True))
    registered = pytree.SUPPORTED_NODES.get(type(tree))
    if registered is None:
        return None
    held, _ = registered.flatten_fn(tree)
    return "dict", list(enumerate(held))


def described(path: str, tree: Any, tensor: Callable[[str, Any], Node]) -> Node:
    """Nested containers as plain data; `tensor(path, leaf)` gives the node of a leaf that is no plain value."""
    if isinstance(tree, PLAIN):
        return {"constant": tree}
    found = children(tree)
    if found is None:
        return tensor(path, tree)
    kind, held = found
    if kind != "dict":
        return {kind: [described(joined(path, key), child, tensor) for key, child in held]}
    for key, _ in held:
        if not isinstance(key, str | int):
            raise UnsupportedError(f"{path or 'the result'} has the key {key!r}", remedy="use strings as keys of dicts")
    return {"dict": [[key, described(joined(path, key), child, tensor)] for key, child in held]}
