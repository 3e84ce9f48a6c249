"""Attention: one stage walks the keys once for some queries of a head, the softmax rescaled as it goes."""
