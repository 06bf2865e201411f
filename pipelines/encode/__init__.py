"""Tracks + frozen VAEs -> latents: one tar of float16 npy members per session, and a row per track."""
