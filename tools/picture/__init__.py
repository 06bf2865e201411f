"""Draw the annotations of a session as a picture that people can read.

session.py   reads the rows of one session from the tables
drawing.py   draws these rows as SVG
"""
