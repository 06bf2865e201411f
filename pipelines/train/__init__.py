"""Windows -> a trained duplex model: `python -m pipelines.train.duplex`, and `pipelines.train.pretrain` before it.

stage.py             what both share: parameters, resume, curves, several processes
duplex.py            conversation
pretrain.py          tasks made of the same windows
initial_weights.py   what a training starts from
logs.py              tensorboard and dvclive
"""
