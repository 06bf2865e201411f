"""Windows -> a trained duplex model: `python -m pipelines.train.duplex`; `pipelines.train.pretrain` may run before it.

stage.py             shared by both: parameters, resume, curves, several processes
duplex.py            conversation
pretrain.py          tasks made of the same windows
initial_weights.py   the weights that a training starts from
logs.py              tensorboard and dvclive
"""
