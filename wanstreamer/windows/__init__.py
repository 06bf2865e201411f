"""Windows of training data: the contract between the pipeline and the library.

manifest.py   a folder of windows, checked; FIELDS and LABELS
shards.py     byte ranges of tars -> samples
batch.py      samples -> Batch
loader.py     an endless, resumable stream of batches
"""
