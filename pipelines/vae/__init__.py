"""What the vae stage does for each VAE: read tracks, train, compare with baselines, draw."""
