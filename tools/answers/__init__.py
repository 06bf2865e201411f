"""The answers of tools.query.

views.py      the database of a data folder: a view per table, and those of schemas/views
answer.py     a statement -> its rows, in batches, or a Parquet file
table.py      prints them as a table for people
programs.py   prints them as CSV or JSON for programs
"""
