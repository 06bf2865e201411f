"""Tests lie where a reader looks for them: the folders of the sources again, what they share in tests/helpers."""

import ast
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

TESTS = ROOT / "tests"
FILES = sorted(path.relative_to(ROOT) for path in TESTS.rglob("*.py"))
FOLDERS = sorted({path.parent.relative_to("tests") for path in FILES} - {Path(), Path("helpers")})


def imported_names(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_test_imports_a_test(path: Path) -> None:
    shared = {name for name in imported_names(path) if name.partition(".")[0] in ("tests", "conftest")}
    assert {name for name in shared if not name.startswith("tests.helpers.")} == set()


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_folder_of_tests_mirrors_one_of_sources(folder: Path) -> None:
    assert list((ROOT / folder).glob("*.py")), f"tests/{folder}: there is no {folder}/"
    assert list((TESTS / folder).glob("test_*.py")), f"tests/{folder}: no tests there"


@pytest.mark.parametrize("path", [path for path in FILES if path.name.startswith("test_")], ids=str)
def test_a_test_named_after_a_module_lies_beside_it(path: Path) -> None:
    """Names of behaviours are free, but a name of a module elsewhere leads a reader astray."""
    folder, name = path.parent.relative_to("tests"), path.stem.removeprefix("test_")
    if folder == Path():
        return
    here = ROOT / folder
    if (here / f"{name}.py").is_file() or (here / name).is_dir():
        return
    elsewhere = [
        module.relative_to(ROOT)
        for package in ("pipelines", "schemas", "tools", "wanstreamer")
        for module in (ROOT / package).rglob(f"{name}.py")
    ]
    assert elsewhere == []
