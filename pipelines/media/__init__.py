"""Media files <-> arrays: the only code that touches ffmpeg, decord and PyAV.

probing.py     a source file -> its streams, with their colours
timelines.py   a source file -> how the clocks of its streams run
claims.py      what a header states about lengths, compared with the packets
ffmpeg.py      a source file -> mono samples, and the video of a track
cancelling.py  channels that cancel each other -> the louder one
retiming.py    samples on a clock that runs faster or slower
framing.py     how a picture of any shape lies in the frame of a track
stills.py      a source file -> a few of its pictures
tracks.py      our own tracks <-> arrays
process.py     ffmpeg as a child process that ends with its parent
languages.py   language tags of streams
captions.py    text on frames
svg.py         colours and shapes of drawings
"""
