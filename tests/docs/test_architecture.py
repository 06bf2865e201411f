"""The walks of docs/architecture.md lead through files and functions that exist, and every folder is met."""

import ast
import re

import pytest

from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\| `([\w/]+\.py)` \| `(\w+)` \|", PAGE, re.MULTILINE)


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_a_step_of_a_walk_exists(file: str, name: str) -> None:
    assert name in names_in(file)


def test_the_walks_are_found() -> None:
    first = [place for place, (_, name) in enumerate(STEPS) if name in ("stage_main", "tick")]
    assert first == [0, len(STEPS) - 19]


@pytest.mark.parametrize(
    "file", sorted(set(re.findall(r"`((?:wanstreamer|pipelines|schemas|tools|docs)/[\w/]+\.py)`", PAGE)))
)
def test_a_file_that_is_named_exists(file: str) -> None:
    assert (ROOT / file).is_file()
