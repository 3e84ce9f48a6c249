"""Files, functions and docstrings keep their measure. (ruff holds complexity and line length.)"""

from __future__ import annotations

import ast

from tests.architecture import exceptions
from tests.architecture.source import PROJECT, sources

FILE_LINES = 500
FUNCTION_LINES = 60


def test_files_are_short() -> None:
    long = {source.key for source in sources() if len(source.text.splitlines()) > FILE_LINES}
    assert long == set(exceptions.LONG_FILES)
    beside = (path for folder in ("tests", "bench", "examples") for path in (PROJECT / folder).rglob("*.py"))
    assert not [path for path in beside if len(path.read_text().splitlines()) > FILE_LINES]


def test_functions_are_short() -> None:
    long = {f"{s.key}:{f.name}" for s in sources() for f in s.functions() if f.lines > FUNCTION_LINES}
    assert long == set(exceptions.LONG_FUNCTIONS)


def test_every_exception_has_a_reason() -> None:
    for reasons in (exceptions.LONG_FILES, exceptions.LONG_FUNCTIONS):
        assert all(len(reason.split()) >= 5 for reason in reasons.values())


def test_every_public_name_has_a_docstring() -> None:
    bare = [
        f"{source.key}:{definition.name}"
        for source in sources()
        for definition in source.definitions()
        if definition.public
        and ast.get_docstring(definition.node) is None
        and not (source.key.startswith("ops/") and definition.name.split(".")[-1] in exceptions.STATED_BY_THE_CLASS)
    ]
    assert not bare


def test_every_module_says_what_it_holds() -> None:
    assert not [source.key for source in sources() if source.text.strip() and ast.get_docstring(source.tree) is None]


def test_names_are_of_the_domain() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    assert not [source.key for source in sources() if vague & set(source.path.with_suffix("").parts[-3:])]
