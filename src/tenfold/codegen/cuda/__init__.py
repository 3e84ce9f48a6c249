"""Kernels for NVIDIA GPUs: Triton functions with holes for the fused bodies."""
