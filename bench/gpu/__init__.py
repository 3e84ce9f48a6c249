"""Whole networks on this machine's GPU."""
