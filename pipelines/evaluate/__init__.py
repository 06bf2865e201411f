"""Held-out windows + the trained model -> figures compared with baselines, with intervals, and pictures and films."""
