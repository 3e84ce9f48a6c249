"""The timing cache: what tuning found, by the content of the problem, so that no build measures it again.

A problem's text says everything that decides how fast its kernels are: the region at typical sizes, the candidates,
the machine, the number of threads, the versions of Tenfold's code generators and of LLVM. An entry is one file, named
by the SHA-256 of that text, written whole; so folders of machines of one kind are merged by copying, and processes may
share one. A bundle is a JSON file of many entries, to take along.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import tenfold.codegen
from tenfold import files
from tenfold.errors import OptionError
from tenfold.version import __version__

_log = logging.getLogger("tenfold")
_CPUINFO = Path("/proc/cpuinfo")
_FIELDS = ("vendor_id", "cpu family", "model", "model name", "stepping", "CPU implementer", "CPU part")


@dataclass(frozen=True)
class Entry:
    """What was found for a problem: for each candidate, in the order the cost model gave them, its seconds, why it gave
    none, or None if there was no time for it; which was chosen, and with how much effort. `shipped`: it came with
    Tenfold, and was timed elsewhere.
    """

    problem: str
    times: Mapping[str, float | str | None]
    choice: str
    effort: int
    shipped: bool = False

    @property
    def skipped(self) -> list[str]:
        """The candidates that were not timed for lack of time."""
        return [tactic for tactic, time in self.times.items() if time is None]

    @property
    def gain(self) -> float:
        """Seconds that the choice takes less than the cost model's; 0 if they were not timed."""
        first, chosen = next(iter(self.times.values())), self.times[self.choice]
        return first - chosen if isinstance(first, float) and isinstance(chosen, float) else 0.0


def key_of(problem: str) -> str:
    """The address of a problem's entry."""
    return hashlib.sha256(problem.encode()).hexdigest()


@functools.cache
def machine_kind() -> str:
    """What a processor says it is: machines of one kind share timings."""
    text = _CPUINFO.read_text(encoding="ascii", errors="replace") if _CPUINFO.exists() else ""
    pairs = (line.partition(":")[::2] for line in text.split("\n\n")[0].splitlines())
    said = {name.strip(): value.strip() for name, value in pairs}
    return "; ".join(f"{name} {said[name]}" for name in _FIELDS if name in said)


@functools.cache
def generators() -> str:
    """What identifies the code generators: versions, and the content of their source files."""
    root = Path(tenfold.codegen.__path__[0])
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"tenfold {__version__} {state.hexdigest()[:16]}, llvmlite {version('llvmlite')}"


class Timings:
    """Entries in `folder`; in memory alone without one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._known: dict[str, Entry] = {}
        self._folder = files.folder(folder / "timings") if folder else None

    def find(self, problem: str, effort: int) -> Entry | None:
        """The entry of a problem, if it took as much effort at least."""
        key = key_of(problem)
        found = self._known.get(key) or self._read(key)
        if found is None or found.effort < effort:
            return None
        self._known[key] = found
        return found

    def keep(self, entry: Entry) -> None:
        """Remember an entry, in place of one that took less effort."""
        key = key_of(entry.problem)
        self._known[key] = entry
        if self._folder:
            try:
                _write(self._folder / f"{key}.json", json.dumps(asdict(entry)))
            except OSError as error:
                _log.warning("timings are not kept on disk: %s", error)
                self._folder = None

    def entries(self) -> Iterator[Entry]:
        """All entries of the folder and those in memory, in the order of their keys."""
        names = set(self._known)
        if self._folder:
            names |= {path.stem for path in self._folder.glob("*.json")}
        for name in sorted(names):
            found = self._known.get(name) or self._read(name)
            if found:
                yield found

    def merge(self, bundle: Path) -> int:
        """Take the entries of a bundle that took more effort than ours; how many there were. OptionError for one
        that is no bundle.
        """
        taken = 0
        for entry in _bundle(bundle):
            if self.find(entry.problem, entry.effort) is None:
                self.keep(entry)
                taken += 1
        return taken

    def bundle(self, path: Path) -> int:
        """Write all entries to one file; how many there were."""
        found = [asdict(entry) for entry in self.entries()]
        _write(path, json.dumps(found, indent=0) + "\n")
        return len(found)

    def _read(self, key: str) -> Entry | None:
        if not self._folder:
            return None
        try:
            entry = Entry(**json.loads((self._folder / f"{key}.json").read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            _log.warning("a timing is measured again: %s", error)
            return None
        return entry if key_of(entry.problem) == key and entry.choice in entry.times else None


def _bundle(path: Path) -> list[Entry]:
    try:
        found = [Entry(**one) for one in json.loads(path.read_bytes())]
        damaged = [one for one in found if one.choice not in one.times]
    except OSError as error:
        problem = f"cannot read {path}: {error.strerror or error}"
        raise OptionError(problem, argument="bundle", remedy="check the path") from error
    except (ValueError, TypeError) as error:
        raise _no_bundle(path) from error
    if damaged:
        raise _no_bundle(path)
    return found


def _no_bundle(path: Path) -> OptionError:
    return OptionError(
        f"{path} is no bundle of timings", argument="bundle", remedy="take a file that `tenfold timings export` wrote"
    )


def _write(path: Path, text: str) -> None:
    with files.whole(path) as file:
        file.write(text.encode())
