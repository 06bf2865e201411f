"""Annotations of a session as a picture a person can read.

session.py   the tables' rows of one session
drawing.py   those rows as SVG
"""
