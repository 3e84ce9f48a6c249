"""TensorFlow takes an environment of its own, which not every machine can have: what was left out is said last."""

from __future__ import annotations

from pathlib import Path

from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say loudly which tests were not run for want of TensorFlow."""
    here = str(Path(__file__).parent)
    skipped = [one for one in terminalreporter.stats.get("skipped", []) if here in str(one.longrepr)]
    if skipped:
        terminalreporter.section("NOT CHECKED", red=True, bold=True)
        terminalreporter.line(f"SavedModels of TensorFlow, for want of it: {len(skipped)} tests", red=True)
