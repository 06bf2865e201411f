"""The models of others that a setting can name: list, fetch and check them.

state.py     whether a model is there and whole
fetch.py     from the hub, out of a package's wheel, or from a repository
show.py      as a list, or as JSON
"""
