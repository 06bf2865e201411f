"""The code that a result depends on: the modules of this project that its module imports, directly or not.

Parts, `dvc.yaml` and trainings use this list; nothing is listed by hand. Three rules leave code out:

- The engine (`pipelines.engine`) decides how, where and when work is done, never the result. Results are the same for
  any number of workers, any resume and any store (tests/pipelines/engine), and every run writes the tables again.
- `a/__init__.py`, if only `a.b` is imported: importing it runs no code that changes a result.
- Comments, docstrings, layout, and code for type checkers only (`if TYPE_CHECKING:`).

`python -m pipelines.engine.code STAGE` prints the list of a stage; `--write` brings `dvc.yaml` up to date.
"""

import argparse
import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from wanstreamer.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipelines", "schemas", "wanstreamer")
ENGINE = "pipelines.engine"


def code_of(*modules: str, root: Path = ROOT) -> list[str]:
    """Sorted names of all modules whose code decides what `modules` compute, including `modules`."""
    seen: set[str] = set()
    ahead = list(modules)
    while ahead:
        module = ahead.pop()
        if module in seen or module == ENGINE or module.startswith(f"{ENGINE}."):
            continue
        seen.add(module)
        ahead += _imports(module, root)
    return sorted(seen)


def code_files(*modules: str, root: Path = ROOT) -> list[str]:
    """The files of `code_of`, relative to the project's root."""
    paths = (_file(module, root) for module in code_of(*modules, root=root))
    return sorted(path.relative_to(root).as_posix() for path in paths if path is not None)


def code_hash(*modules: str, root: Path = ROOT) -> str:
    """SHA-256 of the syntax trees of `code_of`: comments, docstrings and layout do not count."""
    meanings = [f"{module} {_meaning(module, root)}" for module in code_of(*modules, root=root)]
    return hashlib.sha256("\n".join(meanings).encode()).hexdigest()


def _file(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _imports(module: str, root: Path) -> set[str]:
    """The project's modules that `module` imports, at any place in its code."""
    file = _file(module, root)
    if file is None:
        return set()
    names: set[str] = set()
    for node in _run_nodes(_tree(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                names.add(member if node.module.partition(".")[0] in PACKAGES and _file(member, root) else node.module)
    return {name for name in names if name.partition(".")[0] in PACKAGES}


def _run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that Python runs: not those below `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if _only_for_types(node):
            for other in node.orelse:  # type: ignore[attr-defined]
                yield other
                yield from _run_nodes(other)
        else:
            yield node
            yield from _run_nodes(node)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def _meaning(module: str, root: Path) -> str:
    file = _file(module, root)
    if file is None:
        return ""
    return hashlib.sha256(repr(_written(_tree(file))).encode()).hexdigest()


def _written(node: object) -> object:
    """A syntax tree as nested lists, the same in every version of Python: what is empty is left out."""
    if isinstance(node, list):
        return [_written(item) for item in node if not _is_text(item)]
    if not isinstance(node, ast.AST):
        return node
    if _only_for_types(node):
        return _written(node.orelse)  # type: ignore[attr-defined]
    fields = ((name, _written(value)) for name, value in ast.iter_fields(node))
    return [type(node).__name__, *((name, value) for name, value in fields if value not in (None, []))]


def _is_text(node: object) -> bool:
    """A docstring, or any other string that stands alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def stage_module(command: str) -> str:
    """`python -m pipelines.pack` -> pipelines.pack.__main__, the module that the command runs.

    Raises InputError if there is no such command.
    """
    module = command.split("python -m ")[1].split()[0]
    for name in (f"{module}.__main__", module):
        file = _file(name, ROOT)
        if file is not None and file.name != "__init__.py":
            return name
    raise InputError(
        f"python -m {module}: no such command; expected a stage of dvc.yaml, such as ingest or train.duplex"
    )


def with_code(dvc: str) -> str:
    """The text of `dvc.yaml` with the computed list of code for each stage; all else is unchanged."""
    lines: list[str] = []
    code: list[str] = []
    for line in dvc.splitlines():
        if command := re.match(r"    cmd: (.*)", line):
            code = code_files(stage_module(command[1]))
        if re.match(r"      - (pipelines|schemas|wanstreamer|tools)/", line):
            continue
        if code and re.match(r"    (outs|metrics):", line):
            lines += [f"      - {file}" for file in code]
            code = []
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.engine.code", description="List the code that a stage depends on."
    )
    parser.add_argument("stage", nargs="?", help="name of the stage: ingest, pack, train.duplex, ...")
    parser.add_argument("--write", action="store_true", help="write the lists of all stages into dvc.yaml")
    args = parser.parse_args()
    if args.stage:
        with exit_on_input_error():
            print("\n".join(code_files(stage_module(f"python -m pipelines.{args.stage}"))))
    if args.write:
        path = ROOT / "dvc.yaml"
        path.write_text(with_code(path.read_text()))


if __name__ == "__main__":
    main()
