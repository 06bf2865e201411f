"""Tracks -> facts about recording quality, and which tracks are too poor for training or are duplicates."""
