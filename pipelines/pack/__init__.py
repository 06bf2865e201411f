"""Latents + annotations -> windows: K units of a dyad, both role views, one tar of training samples per session."""
