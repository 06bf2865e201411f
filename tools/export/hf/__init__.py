"""The format `hf`: a folder that `datasets.load_dataset` opens, with a dataset card and a Croissant description.

    OUT/README.md                            dataset card: YAML for the Hub, then figures, limits, how it was made
    OUT/croissant.json                       Croissant 1.1, with the responsible-AI fields
    OUT/picture.svg                          half a minute of one conversation
    OUT/tables/events/train-00000.parquet    one config per table; a file per split and bucket of sessions
    OUT/windows/train/00000-<hash>.tar       WebDataset shards, with manifest and indexes; a dataset of its own
    OUT/.export/hf/00000.json                what was written of a bucket of sessions

`export.py` is the format, `what.py` says which tables and columns go out, `bucket.py` writes a bucket of sessions from
the data folder, or again from the export without some people, and `shards.py` its windows. `figures.py` counts in the
export itself, so that a card (`card.py`, `sentences.py`, `drawing.py`) and a description (`croissant.py`) are right
after a person has left.
"""
