"""WanStreamer: causal codecs, a duplex Transformer and its streaming session, in plain torch."""
