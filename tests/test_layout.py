"""Tests lie where a reader looks for them: the folders of the sources again, what they share in tests/helpers.

Those with real recordings and real weights, which take whole stages, are in tests/real.
"""

import ast
from pathlib import Path

from tests.helpers.paths import ROOT

TESTS = ROOT / "tests"
FILES = sorted(path.relative_to(ROOT) for path in TESTS.rglob("*.py"))
FOLDERS = sorted({path.parent.relative_to("tests") for path in FILES} - {Path(), Path("helpers"), Path("real")})


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


def test_no_test_imports_a_test() -> None:
    shared = {
        (str(path), name)
        for path in FILES
        for name in imported_names(path)
        if name.partition(".")[0] in ("tests", "conftest") and not name.startswith("tests.helpers.")
    }
    assert shared == set()


def test_every_folder_of_tests_mirrors_one_of_sources() -> None:
    for folder in FOLDERS:
        assert list((ROOT / folder).glob("*.py")), f"tests/{folder}: there is no {folder}/"
        assert list((TESTS / folder).glob("test_*.py")), f"tests/{folder}: no tests there"


def test_a_test_named_after_a_module_lies_beside_it() -> None:
    """Names of behaviours are free, but the name of a module elsewhere leads a reader astray."""
    astray = {}
    for path in FILES:
        folder, name = path.parent.relative_to("tests"), path.stem.removeprefix("test_")
        beside = [*(ROOT / folder).glob(f"{name}.*"), *(ROOT / folder).glob(f"{name}/")]
        if not path.name.startswith("test_") or folder == Path() or beside:
            continue
        elsewhere = [
            str(module.relative_to(ROOT))
            for package in ("pipelines", "schemas", "tools", "wanstreamer")
            for module in (ROOT / package).rglob(f"{name}.py")
        ]
        if elsewhere:
            astray[str(path)] = elsewhere
    assert astray == {}
