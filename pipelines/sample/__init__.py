"""Number of sessions and a seed -> recordings of two-person conversations whose every word and turn is known.

The sample stands in for recordings of people: drawn faces, espeak-ng voices, scripted and therefore known timing
(pipelines/conversation). It gives every stage something to work on without a download, and tests something to be right
or wrong about.

stage.py     which sessions, run them in parallel, manifest, truth, metrics
session.py   one session: script, voices, faces, files
truth.py     the tables no stage may read
"""
