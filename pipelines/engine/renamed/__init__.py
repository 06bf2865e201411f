"""Commands under their old names: each prints its new name and runs it. `pipelines/__init__.py` finds them here."""

import runpy
import sys


def run_as(new: str) -> None:
    """Run the module `new` as this process's command, after one line that names it."""
    spec = sys.modules["__main__"].__spec__
    print(f"note: python -m {spec.name if spec else '?'} is now python -m {new}", file=sys.stderr)
    runpy.run_module(new, run_name="__main__", alter_sys=True)
