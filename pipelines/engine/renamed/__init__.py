"""Commands with their old names: each prints its new name and runs it. `pipelines/__init__.py` finds them here."""

import runpy
import sys


def run_as(new: str) -> None:
    """Print the new name in one line, then run the module `new` as the command of this process."""
    spec = sys.modules["__main__"].__spec__
    print(f"note: python -m {spec.name if spec else '?'} is now python -m {new}", file=sys.stderr)
    runpy.run_module(new, run_name="__main__", alter_sys=True)
