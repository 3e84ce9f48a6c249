"""Plugins that are installed: values that packages offer under an entry point of the group "tenfold.plugins"."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from tenfold import ops
from tenfold.errors import EngineError, OptionError
from tenfold.ir.op import Op

GROUP = "tenfold.plugins"


@functools.cache
def installed() -> tuple[Any, ...]:
    """What the entry points of the group name, in the order of their names."""
    return tuple(one.load() for one in sorted(entry_points(group=GROUP), key=lambda one: one.name))


def require_plugins(given: Any, is_plugin: Callable[[Any], bool] = lambda one: hasattr(one, "ops")) -> None:
    """OptionError for what is no sequence of plugins."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise OptionError(f"plugins is a {type(given).__name__}", argument="plugins", remedy="give a list of plugins")
    for one in given:
        if not is_plugin(one):
            raise OptionError(
                f"a {type(one).__name__} is no plugin",
                argument="plugins",
                remedy="pass values of tenfold.plugin.Plugin",
            )


def catalogue(needed: Mapping[str, Sequence[str]], given: Iterable[Any]) -> tuple[type[Op], ...]:
    """Tenfold's operations and those of plugins that an engine `needed`, by plugin, from installed and given plugins.

    EngineError names a plugin that is missing.
    """
    if not needed:
        return ops.ALL
    own: dict[str, type[Op]] = {op.__name__: op for one in (*installed(), *given) for op in one.ops}
    for plugin, names in needed.items():
        missing = [name for name in names if name not in own]
        if missing:
            raise EngineError(
                f"the engine runs {', '.join(missing)} of the plugin {plugin!r}",
                argument="plugins",
                remedy=f"install the plugin, or load the engine with plugins=[{plugin}]",
            )
    return (*ops.ALL, *own.values())
