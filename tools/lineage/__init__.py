"""From a unit of a training window to the frames and samples of the source, and back.

unit.py      a window and a unit -> all that it was made from, stage by stage
media.py     a part of a track -> the source's frames and samples
masks.py     why a unit of a window is masked
moment.py    an instant of a file or of a session -> all windows that hold it
show.py      both as text for people
"""
