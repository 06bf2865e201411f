"""Media files <-> arrays: the only code that touches ffmpeg, decord and PyAV.

probing.py     a source file -> its streams, with their clocks and colours
ffmpeg.py      a source file -> mono samples, and the video of a track
tracks.py      our own tracks <-> arrays
process.py     ffmpeg as a child process that ends with its parent
languages.py   language tags of streams
captions.py    text on frames
svg.py         colours and shapes of drawings
"""
