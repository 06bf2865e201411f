"""Scripted people: what they say and when, their voices and faces. For the sample, and for users who react to a model.

cast.py      who meets whom, with which face, voice, containers, rates and offsets
grammar.py   what people say: a small fixed world, statements, questions with their answers
script.py    when they say it: turns, gaps, overlaps, interruptions, backchannels
dialogue.py  the resulting conversation
phrases.py   one phrase: trimmed, with times of its words, or broken off
loudness.py  how loud its words are
voice.py     text -> samples and word times, espeak-ng in a child process
motion.py    how a face moves while its owner speaks and listens
look.py      what a person looks like, and where they sit
face.py      drawing the face
things.py    what people hold up to the camera
record.py    mix, noise, bleed, encode
room.py      echoes of a room, music in the background
scenes.py    kinds of recordings with several people in one file: scene_talk.py what they say, scene_staging.py who
             sits where and when the picture cuts, scene_picture.py the frames, scene_sound.py the only microphone
partner.py   one of these people, live: listens to an agent and answers it
stimuli.py   what a user did that an agent could react to
"""
