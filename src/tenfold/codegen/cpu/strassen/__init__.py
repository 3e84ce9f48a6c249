"""Products of matrices by fewer products of their halves."""
