"""What the steps after a model hand on: its results by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tenfold.errors import OptionError
from tenfold.pipeline.picture import Picture
from tenfold.pipeline.term import Term


@dataclass(frozen=True)
class Answers:
    """Results by name, each with the batch as its first axis, and the picture that the model saw (None if it saw none).

    `ragged` names those that have no such axis: as many rows as were found.
    """

    results: dict[str, Term]
    picture: Picture | None = None
    ragged: frozenset[str] = frozenset()

    def pick(self, name: str | None, step: object) -> tuple[str, Term]:
        """The result of a name, or the first one; OptionError if there is none of that name."""
        chosen = next(iter(self.results)) if name is None else name
        if chosen not in self.results:
            raise OptionError(
                f"{step} asks for {chosen!r}", argument="after", remedy=f"there are {', '.join(self.results)}"
            )
        return chosen, self.results[chosen]

    def swap(self, taken: str, **made: Term) -> Answers:
        """The same with other results in the place of one."""
        results: dict[str, Term] = {}
        for name, term in self.results.items():
            results |= made if name == taken else {name: term}
        return replace(self, results=results)
