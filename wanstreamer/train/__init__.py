"""Training loops of the VAEs and of the duplex model: a model and batches in, weights and their history out."""
