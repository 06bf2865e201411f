"""What several stages measure in sound and picture: voice activity, faces, offsets, bleed."""
