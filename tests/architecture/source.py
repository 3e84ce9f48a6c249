"""The source of the package as syntax trees: what the architecture tests ask their questions of."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "src" / "tenfold"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """A function, method or class that is not inside a function."""

    name: str
    node: Function | ast.ClassDef

    @property
    def lines(self) -> int:
        """Lines from the `def` to the end of the body."""
        return (self.node.end_lineno or 0) - self.node.lineno + 1

    @property
    def public(self) -> bool:
        """Whether no part of the dotted name is private."""
        return not any(part.startswith("_") for part in self.name.split("."))


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def key(self) -> str:
        """The path below the package, as the exception lists write it."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def module(self) -> str:
        """The dotted name it is imported by."""
        parts = self.path.relative_to(PACKAGE.parent).with_suffix("").parts
        return ".".join(parts).removesuffix(".__init__")

    def definitions(self) -> Iterator[Definition]:
        """Functions, classes and methods, but nothing nested in a function."""
        yield from _definitions(self.tree, "")

    def functions(self) -> Iterator[Definition]:
        """Every function, nested ones too (their enclosing function's name comes first)."""
        yield from _functions(self.tree, "")

    def late_imports(self) -> Iterator[tuple[str, ast.stmt]]:
        """(function, import statement) for each import inside a function."""
        for function in self.functions():
            for node in ast.walk(function.node):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield function.name, node

    def imports(self, modules: Set[str]) -> set[str]:
        """The modules of `modules` imported at run time, wherever in the file it stands.

        `from a import b` imports a.b where that is a module, else a.
        """
        skipped = {id(inner) for block in ast.walk(self.tree) if _typing_only(block) for inner in ast.walk(block)}
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import) and id(node) not in skipped:
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and id(node) not in skipped:
                assert node.level == 0, f"{self.key}:{node.lineno}: imports are absolute here"
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= inner & modules or {str(node.module)}
        return found & modules


def _typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _definitions(node: ast.AST, prefix: str) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield Definition(prefix + child.name, child)
        elif isinstance(child, ast.ClassDef):
            yield Definition(prefix + child.name, child)
            yield from _definitions(child, f"{prefix}{child.name}.")
        else:
            yield from _definitions(child, prefix)


def _functions(node: ast.AST, prefix: str) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield Definition(prefix + child.name, child)
        inner = f"{prefix}{child.name}." if isinstance(child, Function | ast.ClassDef) else prefix
        yield from _functions(child, inner)


@cache
def sources() -> tuple[Source, ...]:
    """Every file of the package, in order of path."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return tuple(Source(path, (text := path.read_text()), ast.parse(text)) for path in paths)
