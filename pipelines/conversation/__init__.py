"""Scripted people: what they say and when, their voices and faces. For the sample, and for users who react to a model.

cast.py      who meets whom, with which face, voice, containers, rates and offsets
grammar.py   what is said: a fixed small world, statements, questions with their answers
script.py    when it is said: turns, gaps, overlaps, interruptions, backchannels
dialogue.py  the conversation that comes of it
phrases.py   one phrase: trimmed, its words timed, broken off
loudness.py  how loud its words are
voice.py     text -> samples and word times, espeak-ng in a child process
motion.py    what a face does while its owner speaks and listens
look.py      who it belongs to, and where they sit
face.py      drawing it
things.py    what they hold up to the camera
record.py    mix, noise, bleed, encode
partner.py   one of these people, live: listens to an agent and answers it
stimuli.py   what a user did that an agent could react to
"""
