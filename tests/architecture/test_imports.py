"""Who may import what, and when. (import-linter holds the layers; `scripts/check` runs it.)"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.source import PACKAGE, PROJECT, sources

LAZY_DOORS = {
    ("__init__.py", "__getattr__"),
    ("importers/__init__.py", "open_model"),
    ("codegen/__init__.py", "strategies_for"),
    ("runtime/__init__.py", "open_device"),
    ("diagnose/__init__.py", "open_peer"),
    ("ops/image.py", "decoder"),
}

HEAVY = {"llvmlite", "onnx", "onnxruntime", "triton", "torch", "keras", "google", "typer", "rich", "PIL"}
COMPILER = {
    f"tenfold.{name}" for name in ("cli", "compiler", "codegen", "importers", "passes", "rewrite", "diagnose", "server")
}


def test_only_the_lazy_doors_import_late() -> None:
    late = {(source.key, function) for source in sources() for function, _ in source.late_imports()}
    assert late <= LAZY_DOORS


def test_no_module_can_reach_itself() -> None:
    modules = {source.module for source in sources()}
    reach = {source.module: source.imports(modules) - {source.module} for source in sources()}
    for _ in range(len(modules).bit_length()):
        reach = {name: seen.union(*(reach[other] for other in seen)) for name, seen in reach.items()}
    assert not sorted(name for name, seen in reach.items() if name in seen)


def _loaded(statement: str) -> set[str]:
    """The modules that a fresh interpreter loads for `statement`."""
    program = f"import sys; old = set(sys.modules); {statement}; print(*(set(sys.modules) - old))"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env={"PYTHONPATH": str(PACKAGE.parent), "PATH": ""},
    )
    return set(ran.stdout.split())


@pytest.mark.parametrize("module", ["tenfold", "tenfold.runtime", "tenfold.ops", "tenfold.ir"])
def test_what_an_engine_needs_is_light(module: str) -> None:
    loaded = _loaded(f"import {module}")
    assert module in loaded
    assert not HEAVY & {name.partition(".")[0] for name in loaded}
    assert not {name for name in loaded if any(name == part or name.startswith(f"{part}.") for part in COMPILER)}


def test_importing_tenfold_loads_little_beyond_numpy() -> None:
    allowed = _loaded("import numpy, ml_dtypes")
    added = {name for name in _loaded("import tenfold") - allowed if not name.startswith("tenfold")}
    foreign = {name.partition(".")[0] for name in added} - sys.stdlib_module_names - {"ml_dtypes"}
    assert not foreign
    slow = {
        "asyncio",
        "multiprocessing",
        "unittest",
        "email",
        "http",
        "urllib",
        "xml",
        "importlib.metadata",
        "distutils",
    }
    assert not slow & added
