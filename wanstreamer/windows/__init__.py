"""Windows of training data: the contract between the pipeline and the library.

manifest.py   reads and checks a folder of windows; FIELDS and LABELS
shards.py     byte ranges of tars -> samples
batch.py      samples -> Batch
loader.py     an endless, resumable stream of batches
"""
