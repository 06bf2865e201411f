"""Tracks -> facts of recording quality, and which sessions are too poor to learn from or are there already."""
