"""What the vae stage does for each codec: read tracks, train, compare with baselines, draw."""
