"""dvc.yaml names the code each stage runs: a change of code that decides an output reruns the stage."""

import ast
from functools import cache

import pytest
import yaml

from tests.helpers.paths import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PACKAGES = ("pipelines", "schemas", "tools", "wanstreamer")
# How a stage is started, counted and shown; what decides an output is in the fingerprints of pipelines/stage.py.
GLUE = {
    f"pipelines/{name}.py"
    for name in (
        "__init__",
        "errors",
        "files",
        "local_ray",
        "params",
        "parts",
        "progress",
        "stage",
        "store",
        "tables",
        "timings",
    )
}
GLUE |= {"schemas/__init__.py", "tools/__init__.py", "wanstreamer/__init__.py", "wanstreamer/errors.py"}


@cache
def project_imports(path: str) -> frozenset[str]:
    """Project files that a file imports, packages' __init__ included."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = set()
    for name in names:
        parts = name.split(".")
        if parts[0] not in PACKAGES:
            continue
        for end in range(1, len(parts) + 1):
            base = "/".join(parts[:end])
            files |= {file for file in (f"{base}.py", f"{base}/__init__.py") if (ROOT / file).is_file()}
    return frozenset(files)


def closure(path: str) -> set[str]:
    found, todo = set(), [path]
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            if file not in GLUE and not file.startswith("schemas/"):
                todo += project_imports(file)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_runs(stage: str) -> None:
    module = STAGES[stage]["cmd"].split()[2].replace(".", "/")
    entry = f"{module}.py" if (ROOT / f"{module}.py").is_file() else f"{module}/__main__.py"
    code = {file for file in closure(entry) if file not in GLUE and not file.startswith("schemas/")}
    deps = [dep for dep in STAGES[stage]["deps"] if dep.split("/")[0] in PACKAGES]
    uncovered = {file for file in code if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)}
    assert uncovered == set()
    assert [dep for dep in deps if not (ROOT / dep).exists()] == []
