"""Generated GPU kernels against PyTorch and cuBLAS."""

from __future__ import annotations
