"""The frame of tools.export: consent, what is left out, going on after a stop, equal bytes, refusals, the record."""

import hashlib
import json
from pathlib import Path

import pytest

from pipelines.engine.buckets import session_hash
from pipelines.engine.files import file_sha256
from pipelines.engine.forgotten import speaker_hash
from pipelines.engine.jobs import Rejected
from pipelines.engine.tables import read_rows, to_table, write_table
from tests.helpers.shared_sessions import SHARED, SHE, write_shared_sessions
from tools.export import __main__ as command
from tools.export import moshi, run
from tools.export.form import Choices
from tools.export.moshi import MOSHI
from tools.export.record import append, exports_of, lines, record_file
from tools.export.run import export
from wanstreamer.errors import InputError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_shared_sessions(tmp_path / "data")


def contents(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_only_sessions_that_everyone_shares_and_the_rest_by_reason(data: Path, tmp_path: Path) -> None:
    report = export(data, MOSHI, tmp_path / "out", Choices())
    assert {each.session_id: each.reason for each in report.left_out} == {
        "refused": "not_shared",
        "unknown": "consent_unknown",
        "broken": "audio_damaged",
    }
    names = " ".join(contents(tmp_path / "out"))
    assert all(session in names for session in SHARED)
    for session in ("refused", "unknown", "broken"):
        assert session not in names
        assert not any(session.encode() in path.read_bytes() for path in (tmp_path / "out").rglob("*.json*"))
    listed = [json.loads(line) for line in report.left_out_file.read_text().splitlines()]  # type: ignore[union-attr]
    assert [each["session_id"] for each in listed] == ["broken", "refused", "unknown"]


def test_again_writes_nothing_and_a_changed_session_alone(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(data, MOSHI, out, Choices()).written == 3
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    again = export(data, MOSHI, out, Choices())
    assert (again.written, again.unchanged) == (0, 3) and contents(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == times
    words = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(data, "words")]
    for row in words:
        row["word"] = "new" if row["session_id"] == "anna" else row["word"]
    write_table(data, "words", to_table("words", words))
    assert export(data, MOSHI, out, Choices()).written == 1
    assert [name for name, sha in contents(out).items() if before[name] != sha and ".export" not in name] == [
        name for name in before if name.startswith("data_stereo") and "anna" in name and name.endswith(".json")
    ]


def test_a_stopped_export_goes_on_and_has_the_same_bytes(data: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    export(data, MOSHI, whole, Choices())
    written: list[str] = []

    def stopping(session: moshi.Session, place: Path, choices: Choices) -> moshi.Piece:
        if len(written) == 2:
            (place / "half.wav").write_bytes(b"half")
            raise KeyboardInterrupt
        piece = moshi.write_session(session, place, choices)
        written.append(session.session_id)
        return piece

    form = run.Format(**{**vars(MOSHI), "write_session": stopping})
    with pytest.raises(KeyboardInterrupt):
        export(data, form, out, Choices())
    assert not list(out.glob("*.jsonl")) and not list(out.rglob("half.wav"))
    report = export(data, MOSHI, out, Choices())
    assert (report.written, report.unchanged) == (1, 2)
    assert contents(out) == contents(whole)


def test_no_file_is_there_that_the_record_does_not_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its files and its note: the record has named them before."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_note", lambda out, note: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export(data, MOSHI, out, Choices())
    there = {path.relative_to(out).as_posix() for path in out.rglob("*.wav")}
    assert there and there <= {line.get("file") for line in lines(data)}


def test_the_record_names_every_file_with_its_hash_and_people(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(data, MOSHI, out, Choices())
    files = {line["file"]: line for line in lines(data) if line["what"] == "file"}
    visible = {name for name in contents(out) if not name.startswith(".export")}
    assert set(files) == visible
    for name, line in files.items():
        assert line["sha256"] == file_sha256(out / name) and line["num_bytes"] == (out / name).stat().st_size
        assert line["export"] == str(out.resolve()) and line["at"]
        if "anna" in name:
            assert line["session"] == session_hash("anna") and speaker_hash(SHE) in line["speakers"]
    assert SHE not in record_file(data).read_text()
    assert exports_of(data) == {str(out.resolve()): "moshi"}
    append(data, [])
    with record_file(data).open("a") as file:
        file.write('{"half')
    assert len(list(lines(data))) == len(files) + 1
    append(data, [{"export": "x", "what": "handed", "to": "y"}])
    with pytest.raises(InputError, match=r"exports.jsonl line \d+: not a line"):
        list(lines(data))


def test_consent_that_was_taken_back_takes_the_session_out(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(data, MOSHI, out, Choices())
    tracks = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(data, "tracks")]
    for row in tracks:
        row["consent"] = ["train"] if row["speaker_id"] == SHE else row["consent"]
    write_table(data, "tracks", to_table("tracks", tracks))
    report = export(data, MOSHI, out, Choices())
    assert report.removed == 1 and not any("anna" in name for name in contents(out))
    assert "anna" not in (out / "train.jsonl").read_text()


def test_choices(data: Path, tmp_path: Path) -> None:
    assert export(data, MOSHI, tmp_path / "split", Choices(split="valid")).written == 1
    assert export(data, MOSHI, tmp_path / "where", Choices(where="split = 'train'")).written == 2
    assert export(data, MOSHI, tmp_path / "ids", Choices(sessions=("quiet",))).written == 1
    with pytest.raises(InputError, match="--sessions absent: no such session"):
        export(data, MOSHI, tmp_path / "none", Choices(sessions=("absent",)))
    with pytest.raises(InputError, match="SQL"):
        export(data, MOSHI, tmp_path / "none", Choices(where="nothing > 1"))
    with pytest.raises(InputError, match="no session may be exported .*not_shared"):
        export(data, MOSHI, tmp_path / "none", Choices(sessions=("refused",)))
    assert not (tmp_path / "none").exists()


def test_refusals(data: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else than an export"):
        export(data, MOSHI, tmp_path / "full", Choices())
    with pytest.raises(InputError, match="is in the data folder"):
        export(data, MOSHI, data / "tables/moshi", Choices())
    out = tmp_path / "out"
    export(data, MOSHI, out, Choices(split="valid"))
    with pytest.raises(InputError, match='was made with split "valid", not ""'):
        export(data, MOSHI, out, Choices())
    other = run.Format(**{**vars(MOSHI), "name": "other"})
    with pytest.raises(InputError, match="holds an export of format moshi"):
        export(data, other, out, Choices(split="valid"))
    out.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="another data folder, or one that was moved"):
        export(data, MOSHI, tmp_path / "moved", Choices(split="valid"))
    huge = run.Format(**{**vars(MOSHI), "num_bytes": lambda data, tracks: 10**18})
    with pytest.raises(InputError, match="needs about .* GB free"):
        export(data, huge, tmp_path / "huge", Choices())
    assert not (tmp_path / "huge").exists()


def test_a_session_that_cannot_be_written_leaves_nothing(data: Path, tmp_path: Path) -> None:
    def failing(session: moshi.Session, place: Path, choices: Choices) -> moshi.Piece:
        (place / "half.wav").write_bytes(b"half")
        if session.session_id == "quiet":
            raise Rejected("half", "of it")
        return moshi.write_session(session, place, choices)

    form = run.Format(**{**vars(MOSHI), "write_session": failing})
    report = export(data, form, tmp_path / "out", Choices())
    assert ("quiet", "half") in {(each.session_id, each.reason) for each in report.left_out}
    assert not any("quiet" in name for name in contents(tmp_path / "out"))


def test_the_command_prints_what_is_left_out_not_held_and_next(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command.main(["moshi", "--out", str(out), "--data", str(data), "--handed-to", "a lab"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"export: 3 sessions as moshi in {out}\n")
    assert "left out: 1 not_shared (a participant did not agree to `share`): refused" in printed
    assert "not held: turns (" in printed and f'train_data: "{out.resolve()}/train.jsonl"' in printed
    assert [line["to"] for line in lines(data) if line["what"] == "handed"] == ["a lab"]
    with pytest.raises(SystemExit) as error:
        command.main(["moshi", "--out", str(tmp_path / "data"), "--data", str(data)])
    assert error.value.code == 2 and "is in the data folder" in capsys.readouterr().err
