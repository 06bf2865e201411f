"""Jobs -> parts -> tables: how a stage runs, resumes and reports. The only code that touches Ray.

jobs.py        Job, Result, Rejected: what a stage and the engine exchange
run.py         jobs in, parts and tables out, over Ray workers
parts.py       the files of one key
tables.py      rows <-> Parquet
code.py        the code a result depends on
store.py       copies of finished parts in a store; remote.py: addresses that fsspec opens
ray.py         starting, finding and sharing Ray
command.py     the command line of all stages; params.py, param_help.py: a stage's section of params.yaml
progress.py    progress of long work; timings.py, spent.py: how long it took, and how much CPU time
"""
