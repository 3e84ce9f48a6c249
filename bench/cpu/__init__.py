"""The speed table of CPUs: networks, products and operators beside other runtimes, and what Tenfold promises itself."""

from __future__ import annotations
