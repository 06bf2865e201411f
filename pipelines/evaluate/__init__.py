"""Held-out windows + the trained model -> figures beside baselines with intervals, and pictures of what it does."""
