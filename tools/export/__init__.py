"""A data folder -> a folder that another project's trainer opens: `python -m tools.export FORMAT --out DIR`.

`formats.py` lists the formats. `people.py` chooses the sessions: only those in which everyone agreed to `share`.
`run.py` writes them one by one, and `folder.py` keeps, in the export, a note per session: with it a stopped export goes
on, files over all sessions are written, and a person can be removed. `record.py` names every exported file in the data
folder, and `removal.py` follows that record when a person is forgotten.
"""
