"""What an agent does in a conversation, free running: when it speaks, when it stops, whether it stays itself.

players.py     who may play the agent: the model, and baselines that need no model
activity.py    samples -> when somebody sounds
timing.py      both parties' sound and what the user did -> one conversation's observations
looks.py       an agent's frames and sound -> mouth, loudness, motion, identity
figures.py     observations of many conversations -> figures with n and intervals, beside the truth
recorded.py    agents against recorded users of held-out sessions
simulated.py   agents against users who react to them
play.py        one loop for both: a unit of the user in, a unit of the agent out
drawing.py     a conversation and the distribution of onsets as SVG
table.py       all agents and figures as one table
stage.py       the stage `behaviour`: `python -m pipelines.behaviour`
"""
