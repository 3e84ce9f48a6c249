"""Fusion: from a graph to regions, with a reason for each pair of neighbours that stayed apart."""
