"""Windows of training data: the contract between the pipeline and the library.

manifest.py   reads and checks the manifest of a folder of windows; FIELDS and LABELS
index.py      which windows there are, in which order, and where their bytes lie
order.py      the order of the endless stream of windows
blend.py      several sets with weights, as one stream
shards.py     byte ranges of tars -> samples
batch.py      samples -> Batch
loader.py     an endless, resumable stream of batches
"""
