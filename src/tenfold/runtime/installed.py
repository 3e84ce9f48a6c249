"""Plugins that are installed: values that packages offer under an entry point of the group "tenfold.plugins"."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from tenfold import ops
from tenfold.errors import EngineError
from tenfold.ir.op import Op

GROUP = "tenfold.plugins"


@functools.cache
def installed() -> tuple[Any, ...]:
    """What the entry points of the group name, in the order of their names."""
    return tuple(one.load() for one in sorted(entry_points(group=GROUP), key=lambda one: one.name))


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
