"""What the vae stage does for each codec: read tracks, train, measure beside baselines, draw."""
