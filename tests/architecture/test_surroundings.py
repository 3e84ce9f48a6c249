"""What the package may know of the machine round it."""

from __future__ import annotations

import ast
import re
import subprocess

from tests.architecture.source import PROJECT, sources

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:work|home|root|Users|mnt|opt|usr/local)/[\w.-]+")


def test_only_settings_reads_the_environment() -> None:
    readers = {
        source.key
        for source in sources()
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and ENVIRONMENT & {a.name for a in node.names})
    }  # fmt: skip
    assert readers <= {"settings.py"}


def test_no_machine_paths_in_the_project() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    found = []
    for name in listed.stdout.decode().split("\0"):
        path = PROJECT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".cfg", ""}:
            text = path.read_text(errors="ignore")
            found += [f"{name}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    assert not found
