"""What TorchScript computes with numbers, strings and lists, done while the program is read."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from tenfold.errors import UnsupportedError
from tenfold.importers.torch.recurrent import Packed
from tenfold.importers.torch.sizes import on_numbers
from tenfold.ir import dim
from tenfold.ir.dim import Dim


def _number(function: Any) -> Callable[..., Any]:
    convert = on_numbers(function)
    assert convert is not None
    return convert


def _append(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


def _inserted(items: list[Any], at: int, item: Any) -> None:
    items.insert(at, item)


def _stored(items: Any, at: Any, item: Any) -> Any:
    items[at] = item
    return items


def _not(x: Any) -> Any:
    return dim.logical_not(x) if isinstance(x, Dim) else not x


def _both(x: Any, y: Any) -> Any:
    return dim.logical_and(x, y) if isinstance(x, Dim) or isinstance(y, Dim) else x and y


def _either(x: Any, y: Any) -> Any:
    return dim.logical_or(x, y) if isinstance(x, Dim) or isinstance(y, Dim) else x or y


def _truth(x: Any) -> Any:
    return dim.logical_not(dim.equal(x, 0)) if isinstance(x, Dim) else bool(x)


def _sliced(items: Any, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    return items[slice(start, end, step)]


def _same(x: Any, *_: Any) -> Any:
    return x


def _going_on(counts: Any, axis: int, at: int) -> Any:
    """How many packed sequences go on at a step: at the first all."""
    if not isinstance(counts, Packed) or at != 0:
        raise UnsupportedError("how many packed sequences go on at a step", remedy="use their lengths")
    return counts.batch


_COMPARED = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}


def _compared(name: str) -> Callable[..., Any]:
    symbolic, plain = _number(_COMPARED[name]), _COMPARED[name]
    return lambda x, y: symbolic(x, y) if isinstance(x, Dim) or isinstance(y, Dim) else plain(x, y)


def _minimum(*given: Any) -> Any:
    items = given[0] if len(given) == 1 else given
    return dim.minimum(*items) if any(isinstance(one, Dim) for one in items) else min(items)


def _maximum(*given: Any) -> Any:
    items = given[0] if len(given) == 1 else given
    return dim.maximum(*items) if any(isinstance(one, Dim) for one in items) else max(items)


TABLE: Mapping[str, Callable[..., Any]] = {
    **{name: _compared(name) for name in _COMPARED},
    "add": lambda x, y, *_: x + y if isinstance(x, str | list | tuple) else _number(operator.add)(x, y),
    "sub": lambda x, y, *_: _number(operator.sub)(x, y),
    "mul": lambda x, y: x * y if isinstance(x, list) else _number(operator.mul)(x, y),
    "div": _number(operator.truediv),
    "truediv": _number(operator.truediv),
    "floordiv": _number(operator.floordiv),
    "remainder": _number(operator.mod),
    "neg": _number(operator.neg),
    "pow": lambda x, y: x**y,
    "sqrt": _number(math.sqrt),
    "exp": math.exp,
    "log": math.log,
    "floor": _number(math.floor),
    "ceil": _number(math.ceil),
    "round": round,
    "abs": abs,
    "min": _minimum,
    "max": _maximum,
    "sum": sum,
    "Int": _number(math.trunc),
    "Float": float,
    "Bool": _truth,
    "IntImplicit": _number(math.trunc),
    "FloatImplicit": float,
    "ScalarImplicit": _same,
    "str": str,
    "bool": _truth,
    "__not__": _not,
    "__and__": _both,
    "__or__": _either,
    "__xor__": operator.xor,
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "len": len,
    "list": list,
    "copy": list,
    "slice": _sliced,
    "select": _going_on,
    "append": _append,
    "extend": lambda items, more: items.extend(more),
    "insert": _inserted,
    "pop": lambda items, *at: items.pop(*at),
    "clear": lambda items: items.clear(),
    "reverse": lambda items: items.reverse(),
    "_set_item": _stored,
    "__getitem__": operator.getitem,
    "__contains__": lambda items, item: item in items,
    "index": lambda items, item: items.index(item),
    "count": lambda items, item: items.count(item),
    "keys": lambda items: list(items.keys()),
    "values": lambda items: list(items.values()),
    "items": lambda items: list(items.items()),
    "get": lambda items, *key: items.get(*key),
    "format": lambda text, *given: text.format(*given),
    "percentFormat": lambda text, *given: text % given,
    "warn": lambda *_: None,
    "manual_seed": lambda *_: None,
    "is_grad_enabled": lambda: False,
    "is_scripting": lambda: True,
    "is_autocast_enabled": lambda: False,
    "set_grad_enabled": lambda *_: None,
}
"""By operator's name, without overload."""
