"""Tracks + word sidecars -> speech, words, IPUs, turns, events and unit labels: who spoke when, and what happened."""
