"""tools.verify --exports: every exported file against its checksum; the next export repairs what is damaged."""

from pathlib import Path

import pytest

from tests.helpers.shared_sessions import write_shared_sessions
from tools import verify
from tools.export.check import check_exports
from tools.export.form import Choices
from tools.export.moshi import MOSHI
from tools.export.run import export


def test_damage_is_found_and_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_shared_sessions(tmp_path / "data", ("anna", "quiet")), tmp_path / "out"
    export(data, MOSHI, out, Choices())
    assert check_exports(data) == (8 + 2 + 2, [])  # with train.jsonl, valid.jsonl, export.json, not_held.json
    wav = next(out.rglob("anna-a.wav"))
    content = wav.read_bytes()
    wav.write_bytes(content[:-1] + b"x")
    next(out.rglob("quiet-b.json")).unlink()
    command = ["--exports", "--data", str(data)]
    for repair in ([], ["--repair"]):
        with pytest.raises(SystemExit) as error:
            verify.main([*command, *repair])
        printed = capsys.readouterr().out
        assert (
            error.value.code == 1
            and f"{wav}: its checksum differs; write it again with python -m tools.export" in printed
        )
        assert "quiet-b.json: is missing" in printed and "12 exported files: 2 damaged or missing" in printed
    assert export(data, MOSHI, out, Choices()).written == 2 and wav.read_bytes() == content
    verify.main(command)
    assert "12 exported files: none damaged" in capsys.readouterr().out


def test_files_of_sessions_that_were_taken_out_are_not_missed(tmp_path: Path) -> None:
    data, out = write_shared_sessions(tmp_path / "data", ("anna", "quiet")), tmp_path / "out"
    export(data, MOSHI, out, Choices())
    write_shared_sessions(data, ("anna",))
    assert export(data, MOSHI, out, Choices()).removed == 1
    assert check_exports(data) == (4 + 1 + 2, [])
    out.rename(tmp_path / "moved")
    count, faults = check_exports(data)
    assert count == 0 and [(fault.file, fault.what) for fault in faults] == [("", "is not there any more")]
