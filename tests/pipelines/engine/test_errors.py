"""A folder that cannot be read or written is one line in every command, and nothing is made."""

import errno
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.engine.errors import check_writable, exit_on_input_error
from tests.helpers.paths import ROOT
from wanstreamer.errors import InputError

STAGES = ("sample", "ingest", "quality", "annotate", "vae", "encode", "pack", "evaluate", "behaviour")
COMMANDS = [
    *([f"pipelines.{stage}", "--data", "{data}"] for stage in (*STAGES, "train.pretrain", "train.duplex")),
    ["tools.query", "--data", "{data}", "FROM sessions"],
    ["tools.query", "--data", "{data}", "--build"],
    ["tools.events", "{rttm}", "--out", "{data}/events.parquet"],
    ["tools.convert", "{rttm}", "--to", "stm", "--out", "{data}/all.stm"],
    ["tools.convert", "--data", "{data}", "--to", "rttm", "--out", "all.rttm"],
    ["tools.score", "--data", "{data}", "{rttm}"],
    ["tools.picture", "--data", "{data}"],
    ["tools.forget", "--data", "{data}", "--speaker", "anna"],
    ["tools.plan", "{here}", "--data", "{data}"],
    ["tools.plan", "{here}", "--out", "{data}/plan.json"],
    ["tools.demo", "--data", "{data}"],
    *([f"tools.{name}", "--data", "{data}"] for name in ("summary", "verify", "compact", "upgrade")),
]


@pytest.mark.parametrize("name", ["file/below", "n" * 300])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command[0]}{command[1]}")
def test_a_data_folder_that_cannot_be_is_one_line_in_every_command(
    command: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, *arguments = command
    (tmp_path / "file").write_text("")
    (tmp_path / "a.rttm").write_text("SPEAKER a 1 0.5 1.0 <NA> <NA> anna <NA> <NA>\n")
    places = {"data": tmp_path / name, "rttm": tmp_path / "a.rttm", "here": tmp_path}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [module, *(argument.format(**places) for argument in arguments)])
    entry = importlib.import_module(module)
    with pytest.raises(SystemExit) as ended:
        (entry if hasattr(entry, "main") else importlib.import_module(f"{module}.__main__")).main()
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and printed.startswith("error: ") and printed.count("\n") == 1
    assert str(tmp_path) in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.rttm", "file"]


@pytest.fixture
def as_user() -> list[str]:
    """What runs a command with the permissions of a user: root may read and write everything."""
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root without setpriv")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.parametrize("mode", [0o000, 0o555], ids=["unreadable", "unwritable"])
@pytest.mark.parametrize(
    "command", [COMMANDS[1], ["tools.compact", "--data", "{data}"]], ids=lambda command: command[0]
)
def test_a_folder_without_permission_is_one_line(
    command: list[str], mode: int, as_user: list[str], tmp_path: Path
) -> None:
    data = tmp_path / "locked" / "data"
    data.mkdir(parents=True)
    (data if mode else data.parent).chmod(mode)
    arguments = [argument.format(data=data) for argument in command]
    try:
        done = subprocess.run(
            [*as_user, sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    finally:
        (data if mode else data.parent).chmod(0o755)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert str(tmp_path / "locked") in done.stderr and "permission" in done.stderr.lower()


def test_what_is_written_beside_the_data_folder_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metrics are written at the end, which would be late to fail."""
    (tmp_path / "metrics").write_text("")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["pipelines.quality", "--data", str(tmp_path / "data")])
    with pytest.raises(SystemExit):
        importlib.import_module("pipelines.quality.stage").main()
    assert f"{tmp_path / 'metrics'} is a file; expected a folder" in capsys.readouterr().err


def test_folders_that_are_there_or_can_be_made_are_writable(tmp_path: Path) -> None:
    check_writable(tmp_path)
    check_writable(tmp_path / "new" / "data")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="link is no folder; expected a folder, or one that can be made"):
        check_writable(tmp_path / "link" / "data", "--out")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO, errno.EBADF])
def test_other_errors_of_the_system_are_bugs(number: int) -> None:
    with pytest.raises(OSError, match="somewhere"), exit_on_input_error():
        raise OSError(number, os.strerror(number), "somewhere")
