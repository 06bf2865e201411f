"""Exchange formats <-> intervals. One module per family of formats; `formats` lists them all.

EAF is read and written by pympi-ling (extra `exchange`). The other formats are read and written here, each in a few
lines, because the libraries have faults: MeetEval has no wheels, and its CTM has no speakers; praatio splits a TextGrid
at `item [` inside a label and leaves doubled quotes in points; pysubs2 reads WebVTT's comments and cue names as text,
loses a last line that is a number, and removes `{...}` when it writes. The tests compare our files with what praatio
and pysubs2 read from them.
"""
