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
from tenfold.ir.graph import Graph
from tenfold.ir.op import Op
from tenfold.ops.elementwise import Elementwise
from tenfold.options import is_whole
from tenfold.rewrite.rule import Rule, Rules
from tenfold.runtime.installed import installed, require_plugins

__all__ = ["Plugin", "chosen", "require_known"]


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

    def __post_init__(self) -> None:
        for name, fits, remedy in _FIELDS:
            value = getattr(self, name)
            if not fits(value):
                raise OptionError(
                    f"{name} of the plugin {self.name!r} is {value!r}", argument=name, remedy=f"give {remedy}"
                )


def _all(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda given: isinstance(given, tuple | list) and all(map(fits, given))


def _named(fits: Callable[[Any], bool], key: type = str) -> Callable[[Any], bool]:
    return lambda given: isinstance(given, Mapping) and all(isinstance(k, key) and fits(v) for k, v in given.items())


def _is_version(row: Any) -> bool:
    return isinstance(row, tuple | list) and len(row) == 2 and is_whole(row[0]) and callable(row[1])


def _is_operation(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, Op) and hasattr(one, "infer") and hasattr(one, "evaluate")


_FIELDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("name", lambda given: isinstance(given, str) and given != "", "a name"),
    ("version", lambda given: isinstance(given, str), "text, such as '1'"),
    ("onnx", _named(_all(_is_version), tuple), '{("domain", "Operator"): ((1, convert),)}'),
    ("torch", _named(callable), '{"library::operator": convert}'),
    ("keras", _named(callable), '{"package>Class": convert}'),
    ("rules", _all(lambda one: isinstance(one, Rule)), "a tuple of rules, made by tenfold.rewrite.rule.rule"),
    ("strategies", _all(lambda one: hasattr(one, "tactics") and hasattr(one, "build")), "a tuple of strategies"),
    ("ops", _all(lambda one: _is_operation(one)), "a tuple of classes of operations, each with infer and evaluate"),
)
"""What each field must be, and how that is told."""


def chosen(given: Sequence[Any]) -> tuple[Plugin, ...]:
    """The installed plugins and the given ones, which take the place of installed ones of their names.

    OptionError for what is no Plugin, for a name given twice, and for an operation whose name is taken.
    """
    require_plugins(given, lambda one: isinstance(one, Plugin))
    names = [one.name for one in given]
    _require_once(names, "plugin")
    found = [one for one in installed() if isinstance(one, Plugin) and one.name not in names]
    plugins = (*found, *given)
    _require_once([op.__name__ for op in (*ops.ALL, *(op for one in plugins for op in one.ops))], "operation")
    return plugins


def require_known(graph: Graph, plugins: Sequence[Plugin]) -> None:
    """OptionError for an operation that neither Tenfold nor a plugin has: an engine could not read its host steps.

    Strategies of a plugin may take operations that it does not list.
    """
    if any(one.strategies for one in plugins):
        return
    known = frozenset((*ops.ALL, *(op for one in plugins for op in one.ops)))
    for node in graph.nodes:
        if type(node.op) not in known and not isinstance(node.op, Elementwise):
            name = node.op.name
            remedy = f'pass plugins=[Plugin("mine", ops=({name},))], to tenfold.load as well'
            raise OptionError(f"{name} is an operation of no plugin", argument="plugins", remedy=remedy)
        for inner in node.op.graphs:
            require_known(inner, plugins)


def _require_once(names: Iterable[str], kind: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise OptionError(f"there are two of the {kind} {name!r}", argument="plugins", remedy="rename one of them")
        seen.add(name)
