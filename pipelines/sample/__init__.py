"""Number of sessions and a seed -> recordings of two-person conversations whose every word and turn is known.

The sample replaces recordings of people: drawn faces, espeak-ng voices, scripted and therefore known timing
(pipelines/conversation). Every stage gets something to work on without a download, and tests get a truth to compare
with.

stage.py     which sessions and scenes, run them in parallel, manifest, truth, metrics
session.py   one session: script, voices, faces, files
scenes.py    one scene: people in one file with one picture and one sound, for the stage people to find
truth.py     tables with the truth, which no stage may read
"""
