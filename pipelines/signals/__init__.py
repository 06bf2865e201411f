"""Measurements of audio and video for several stages: voice activity, faces, offsets, bleed."""
