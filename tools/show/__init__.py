"""The viewer, `python -m tools.show`: a local web application over a data folder.

access.py      who may ask: the token, Host and Origin, the headers of every answer
condition.py   checks an SQL condition that a user typed
catalog.py     the list of sessions, and queries over all of them, in a DuckDB that can only read
finds.py       the figures of the list, and the "find me" queries
consent.py     who may be seen and heard, and where a voice is muted
tables.py      rows of one session, by time
sessions.py    one session: its people, rows, events
units.py       what the model sees of a unit
decoded.py     latents -> pixels and sound
sound.py       samples of a track
peaks.py       waveforms of any width, from a pyramid
pictures.py    frames and thumbnails
runs.py        conversations of a model
edits.py       corrections
asked.py       the parameters of a request
answers.py     requests -> JSON
media.py       requests -> video, sound and pictures
server.py      the application
page/          what the browser loads: modules without a build step

Session ids and participants are query parameters; times are whole milliseconds.
"""
