"""The duplex Transformer, in reading order.

config.py          sizes, and the four scales by name
duplex.py          the model: embeddings, trunk, heads; forward, extend, denoise
sequence.py        tokens of units, and who sees whom
blocks.py          a block of the trunk; attention.py its attention, cache.py keys and values that stay
perception.py      the causal encoder of user latents
flow.py            flow matching and its solver; prior.py the linear estimate it starts from
dropout.py         what training leaves out
language_model.py  a start from a Qwen3 language model
"""
