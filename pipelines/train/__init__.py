"""Windows -> a trained duplex model: `python -m pipelines.train.duplex`; `pipelines.train.pretrain` may run before it.

stage.py             shared by both: parameters, resume, curves, several processes
duplex.py            conversation
pretrain.py          tasks made of the same windows
blend.py             the windows of one folder, or of several with weights
filters.py           an SQL condition -> which windows of a folder
initial_weights.py   the weights that a training starts from
logs.py              tensorboard and dvclive
"""
