"""Plugins: what a user adds to Tenfold, as one value that is passed in or found by its entry point.

    swish = Plugin("swish", onnx={("my.domain", "Swish"): ((1, lambda node: ops.Silu()(node.input(0))),)})
    engine = tenfold.build("model.onnx", plugins=[swish])

A converter that says an operator in operations of the catalogue is all that most need: it is fused and compiled as if
it had been written so. An operation of the user's own is a class like those of `tenfold.ops`: an `Elementwise` with
`expand` becomes part of kernels; any other is run by its `evaluate` on the host, unless a rule rewrites it or a
strategy takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tenfold import ops
from tenfold.codegen.strategy import Strategy
from tenfold.errors import OptionError
from tenfold.importers.convert import Table
from tenfold.ir.op import Op
from tenfold.rewrite.rule import Rules
from tenfold.runtime.installed import installed

__all__ = ["Plugin", "chosen"]


@dataclass(frozen=True)
class Plugin:
    """Additions of one author. `version` is part of what decides a cached engine: change it with the plugin.

    `onnx` holds converters by domain and operator, each with the first version of the domain that it is for; `torch` by
    "library::operator", or "library::operator.overload" for one overload: functions of the operator's arguments,
    tensors as values; `keras` by a layer's registered name ("package>Class"): functions of the
    `tenfold.importers.keras.Layer` and the arguments of its call. All come before Tenfold's own. `rules` are applied
    before every other. `strategies` are asked before those of the target, and refuse what is not theirs. `ops` are the
    operations that host steps need: an engine that has such steps is loaded with the plugin, or where its entry point
    in the group "tenfold.plugins" is installed.
    """

    name: str
    version: str = "0"
    onnx: Table = field(default_factory=dict)
    torch: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    keras: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    rules: Rules = ()
    strategies: tuple[Strategy, ...] = ()
    ops: tuple[type[Op], ...] = ()


def chosen(given: Sequence[Any]) -> tuple[Plugin, ...]:
    """The installed plugins and the given ones, which take the place of installed ones of their names.

    OptionError for what is no Plugin, for a name given twice, and for an operation whose name is taken.
    """
    if not isinstance(given, Sequence):
        raise OptionError(f"plugins is a {type(given).__name__}", argument="plugins", remedy="give a list of plugins")
    for one in given:
        if not isinstance(one, Plugin):
            raise OptionError(
                f"a {type(one).__name__} is no plugin",
                argument="plugins",
                remedy="pass values of tenfold.plugin.Plugin",
            )
    names = [one.name for one in given]
    _require_once(names, "plugin")
    found = [one for one in installed() if isinstance(one, Plugin) and one.name not in names]
    plugins = (*found, *given)
    _require_once([op.__name__ for op in (*ops.ALL, *(op for one in plugins for op in one.ops))], "operation")
    return plugins


def _require_once(names: Iterable[str], kind: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise OptionError(f"there are two of the {kind} {name!r}", argument="plugins", remedy="rename one of them")
        seen.add(name)
