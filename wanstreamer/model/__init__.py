"""The duplex Transformer, in reading order.

config.py          sizes, and the four scales by name
duplex.py          the model: embeddings, trunk, heads; forward, extend, denoise
sequence.py        the tokens of units, and who sees whom
blocks.py          a block of the trunk; attention.py its attention, cache.py stored keys and values
perception.py      the causal encoder of user latents
flow.py            flow matching and its solver; prior.py the linear estimate that the solver starts from
dropout.py         what training drops
language_model.py  initial weights from a Qwen3 language model
"""
