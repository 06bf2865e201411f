"""Training loops of the codecs and of the duplex model: a model and batches in, weights and their history out."""
