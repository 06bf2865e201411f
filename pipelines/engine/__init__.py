"""Jobs -> parts -> tables: how a stage runs, resumes and reports. The only code that touches Ray.

jobs.py        Job, Result, Rejected: what a stage and the engine exchange
run.py         jobs in, parts and tables out, over Ray workers
parts.py       what lies on disk for one key
tables.py      rows <-> Parquet
code.py        the code a result depends on
store.py       a second home for finished parts; remote.py: addresses that fsspec opens
ray.py         starting, finding and sharing Ray
command.py     the command line every stage shares; params.py, param_help.py: its section of params.yaml
progress.py    how far long work has come; timings.py: how long it took
"""
