"""README.md and docs/: short, true and complete. What a page shows is run; what is generated holds everything."""

import contextlib
import importlib.util
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from pipelines.engine.param_help import parameters
from pipelines.engine.params import build_params
from pipelines.params import section_classes
from schemas import TABLES
from tests.helpers.docs_blocks import Block, blocks_of, commands_of, pages
from tests.helpers.docs_playground import make_playground
from tests.helpers.paths import ROOT
from tests.helpers.small_corpus import keep_in_process
from tools.query import VIEWS, connect

RUN = ("bash", "python", "sql")
READ = ("json", "yaml")
SHOWN = ("text",)
# Programs of others that a page may name; what is ours is checked.
OTHERS = {"cd", "dvc", "git", "hf", "ls", "pytest", "source", "uv"}
OLD_NAMES = (
    r"pipelines\.(?:duplex|pretrain|local_ray)|tools[./](?:sample(?! --scene)|behaviour(?! --write))"
    r"|bench codec|load_session"
)
PAGES = [path for path in pages() if any(block.language in RUN and not block.not_run for block in blocks_of(path))]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 9000


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_blocks_are_known_and_whole(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    blocks = blocks_of(path)
    assert text.count("```") == 2 * len(blocks), "a fence is not closed, or has an odd form"
    assert text.count("<!-- not run:") == sum(bool(block.not_run) for block in blocks), "a mark belongs to no block"
    for block in blocks:
        assert block.language in RUN + READ + SHOWN, f"{block.place}: a block needs one of {RUN + READ + SHOWN}"
        if block.language == "json":
            json.loads(block.code)
        if block.language == "yaml":
            for section, values in yaml.safe_load(block.code).items():
                build_params(section_classes()[section], values or {}, section)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_links_and_pictures_are_there(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).is_file(), target


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_old_names_are_in_the_tables_of_names_alone(path: Path) -> None:
    if path.stem not in ("commands", "renamed"):
        assert not re.findall(OLD_NAMES, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.stem)
def test_commands_exist(path: Path) -> None:
    """Targets, modules, options and parameters of every command, those that are not run too."""
    for place, words in commands_of(path):
        _check_command(place, words)


def _check_command(place: str, words: list[str]) -> None:
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word) or words[0] == "make"]
    if words[0] == "make":
        names = [word.partition("=")[0] for word in words[1:]]
        unknown = [name for name in names if name not in _make_names() and not name.startswith("-")]
        assert not unknown, f"{place}: make has no {unknown}"
        for word in words[1:]:
            if word.startswith("ARGS="):
                _check_settings(place, word.removeprefix("ARGS=").split())
        return
    if words[0] not in ("python", "torchrun"):
        assert words[0] in OTHERS, f"{place}: {words[0]}"
        return
    if "-m" not in words:
        return
    module, *arguments = words[words.index("-m") + 1 :]
    if module in ("docs", "STAGE") or not module.startswith(("pipelines", "tools")):
        return
    assert importlib.util.find_spec(module), f"{place}: no module {module}"
    command = (module, arguments[0]) if module == "tools.bench" and arguments else (module,)
    for option in (word for word in arguments if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", _help(command)), f"{place}: {module} has no {option}"
    _check_settings(place, arguments)


def _check_settings(place: str, arguments: list[str]) -> None:
    for before, setting in zip(arguments, arguments[1:], strict=False):
        if before == "--set" and setting.lower() == setting:
            name = setting.partition("=")[0].strip("\"'")
            assert name in _parameter_names(), f"{place}: no parameter {name}"


@cache
def _parameter_names() -> frozenset[str]:
    return frozenset(
        f"{section}.{name}" for section, cls in section_classes().items() for name, *_ in parameters(cls())
    )


@cache
def _make_names() -> frozenset[str]:
    text = (ROOT / "Makefile").read_text()
    return frozenset(re.findall(r"^([a-z-]+):", text, re.MULTILINE) + re.findall(r"^([A-Z]+) \?=", text, re.MULTILINE))


@cache
def _help(command: tuple[str, ...]) -> str:
    module, *words = command
    printed = io.StringIO()
    assert _run_module(module, [*words, "--help"], printed) in (0, None)
    return printed.getvalue()


def _run_module(module: str, arguments: list[str], printed: io.StringIO) -> object:
    """`python -m MODULE ARGUMENTS` in this process; returns its exit code."""
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)  # of runpy, about modules that are imported already
        patch.setattr(sys, "argv", [module, *arguments])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            return ended.code
    return 0


def test_help_of_every_documented_command() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    commands = sorted(set(re.findall(r"`python -m ((?:pipelines|tools)\.[\w.]+)", text)))
    assert len(commands) > 15
    for command in commands:
        if command not in ("pipelines.local_ray", "pipelines.engine.ray"):  # they run what follows them
            assert "usage" in _help((command,)), command


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_playground(tmp_path_factory.mktemp("docs") / "project")


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_block_runs(path: Path, playground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(playground)
    keep_in_process(monkeypatch)
    for block in blocks_of(path):
        if block.language in RUN and not block.not_run:
            _run_block(block)


def _run_block(block: Block) -> None:
    if block.language == "python":
        exec(compile(block.code, block.place, "exec"), {"__name__": "__main__"})
    elif block.language == "sql":
        with connect(Path("data")) as tables:
            for statement in tables.extract_statements(block.code):
                tables.execute(statement).fetchall()
    else:
        for line in block.code.replace("\\\n", " ").splitlines():
            _run_line(block.place, line)


def _run_line(place: str, line: str) -> None:
    """One line of a bash block: our commands in this process, where torch is imported already; the rest by bash."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[:2] == ["python", "-m"] and not set(words) & {">", "|", "&&", ";"} and "*" not in line:
        printed = io.StringIO()
        code = _run_module(words[2], words[3:], printed)
        assert code in (0, None), f"{place}: {line}: exit code {code}\n{printed.getvalue()[-3000:]}"
        return
    variables = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": "."}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{place}: {line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@cache
def _hooks() -> ModuleType:
    """docs/hooks.py, loaded as mkdocs does."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_hold_every_table_view_and_parameter() -> None:
    hooks = _hooks()
    tables, views, shown = hooks.tables(), hooks.views(), hooks.parameters()
    for name, table in TABLES.items():
        assert f"### {name} " in tables
        assert all(f"| `{column.name}` |" in tables for column in table.schema)
    for path in VIEWS.glob("*.sql"):
        assert f"### {path.stem} " in views
    assert all(f"| `{name}` |" in shown for name in _parameter_names())


def test_markers_name_parts_that_exist() -> None:
    used = set()
    for path in pages():
        used |= set(_hooks().MARKER.findall(path.read_text(encoding="utf-8")))
    assert used == set(_hooks().PARTS)
