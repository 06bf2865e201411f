"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

WITH_EXAMPLES = [
    path.relative_to(ROOT).with_suffix("")
    for package in ("schemas", "pipelines", "wanstreamer", "tools")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples(path: Path) -> None:
    name = ".".join(path.parts).removesuffix(".__init__")
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted and not results.failed
