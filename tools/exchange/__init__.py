"""Exchange formats <-> intervals. One module per family of formats; `formats` lists them all.

EAF is written by pympi-ling (extra `exchange`). It is read here, as pympi has no times for slots without a time, and so
are the other formats read and written, because the libraries have faults: MeetEval has no wheels, and its CTM has no
speakers; praatio splits a TextGrid at `item [` inside a label and leaves doubled quotes in points; pysubs2 reads
WebVTT's comments and cue names as text, loses a last line that is a number, and removes `{...}` when it writes. The
tests compare our files with what pympi, praatio, pysubs2, pyannote.database and pandas read from them.
"""
