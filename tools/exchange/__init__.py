"""Exchange formats <-> intervals. One module per family; `formats` knows them all.

EAF is read and written by pympi-ling (extra `exchange`). The others are read and written here, each in some lines:
MeetEval has no wheels, and its CTM has no speakers; praatio splits a TextGrid at `item [` inside a label and leaves
doubled quotes in points; pysubs2 takes WebVTT's comments and cue names for text, loses a last line that is a number,
and takes `{...}` out of what it writes. The tests hold what is written here against praatio and pysubs2.
"""
