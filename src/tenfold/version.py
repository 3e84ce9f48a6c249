"""The version of Tenfold: what the package, the engine files it writes and `tenfold --version` all say."""

from __future__ import annotations

__version__ = "0.1.0"
