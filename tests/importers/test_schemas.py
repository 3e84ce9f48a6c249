"""Every version of every operator that ONNX defines: converted, defined by others that are, or on a list."""

from __future__ import annotations

from typing import Any

import onnx

from tenfold.importers.convert import choose
from tenfold.importers.onnx import TABLE

NOT_CONVERTED: dict[tuple[str, str], str] = {}
"""By domain and name, each with the reason."""


def _is_function(schema: Any) -> bool:
    return bool(schema.has_function or schema.has_context_dependent_function)


def test_every_schema() -> None:
    schemas: list[Any] = onnx.defs.get_all_schemas_with_history()
    missing = {
        (one.domain, one.name)
        for one in schemas
        if choose(TABLE, one.domain, one.name, one.since_version) is None and not _is_function(one)
    }
    assert missing == set(NOT_CONVERTED)
    print(f"{len(schemas)} versions of {len({(one.domain, one.name) for one in schemas})} operators")
