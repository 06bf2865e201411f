"""WanStreamer: causal VAEs, a duplex Transformer and its streaming agent, in plain torch."""
