"""Einsum: the equation is an attribute."""

from __future__ import annotations

from tenfold.importers.convert import Operator, Results, Table
from tenfold.importers.einsum import einsum


def by_attribute(node: Operator) -> Results:
    """Einsum; ModelError where the equation does not fit the inputs."""
    try:
        return einsum(node.text("equation"), *(node.input(index) for index in range(len(node.inputs))))
    except ValueError as error:
        raise node.invalid(str(error)) from error


TABLE: Table = {("", "Einsum"): ((12, by_attribute),)}
