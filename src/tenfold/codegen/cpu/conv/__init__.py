"""Convolutions: direct, depthwise, with few channels, transposed, and a plain loop nest for the rest."""
