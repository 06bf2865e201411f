"""The model answers a recorded user; the answer is a film. `python -m tools.talk`."""
