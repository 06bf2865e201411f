"""What a corpus will cost, before it is paid: hours kept, disk, CPU and GPU time, money; and what it did cost.

corpus.py      source -> what will become of each session, from headers only
amounts.py     what the cost of a stage depends on: pixels, seconds, tracks, windows
slopes.py      what each of these costs, measured by `tools.bench cost`; slopes.json: the shipped measurement
calibrate.py   how much faster or slower this machine is than the one of the slopes
training.py    the stages whose cost depends on steps: vae, duplex
predict.py     amounts x slopes -> cost of each stage on a machine
layout.py      where the outputs of a stage lie, and how many files they are
spent.py       what a run has spent, from its data folder
show.py        the tables that are printed
"""
