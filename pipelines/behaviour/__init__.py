"""How an agent behaves in a conversation, running free: when it speaks, when it stops, whether its looks stay the same.

players.py     what can play the agent: the model, and baselines that need no model
activity.py    samples -> when a voice is active
timing.py      both parties' speech and what the user did -> one conversation's observations
looks.py       an agent's frames and sound -> mouth, loudness, motion, identity
figures.py     observations of many conversations -> figures with n and intervals, compared with the truth
recorded.py    agents against recorded users of held-out sessions
simulated.py   agents against users who react to them
play.py        one loop for both: a unit of the user in, a unit of the agent out
drawing.py     a conversation and the distribution of onsets as SVG
table.py       all agents and figures in one table
stage.py       the stage `behaviour`: `python -m pipelines.behaviour`
"""
