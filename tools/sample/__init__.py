"""Number of sessions and a seed -> recordings of two-person conversations whose every word and turn is known.

The sample stands in for recordings of people: drawn faces, espeak-ng voices, scripted and therefore known timing. It
gives every stage something to work on without a download, and tests something to be right or wrong about.

    corpus.py    the stage: which sessions, run them in parallel, manifest, truth, metrics
    cast.py      who meets whom, with which face, voice, containers, rates and offsets
    grammar.py   what is said: a fixed small world, statements, questions with their answers
    script.py    when it is said: turns, gaps, overlaps, interruptions, backchannels
    dialogue.py  the conversation that comes of it
    phrases.py   one phrase: trimmed, its words timed, broken off
    voice.py     text -> samples and word times, espeak-ng in a child process
    motion.py    what a face does while its owner speaks and listens
    look.py      who it belongs to, and where they sit
    face.py      drawing it
    things.py    what they hold up to the camera
    record.py    mix, noise, bleed, encode
    truth.py     the tables no stage may read
    partner.py   one of these people, live: listens to an agent and answers it
    prompts.py   what a user did that an agent could react to
"""
