"""tools.forget and exports: nothing of the person is left, the rest is as without the person, copies are named."""

import gzip
import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.shared_sessions import SHE, write_shared_sessions
from tools.export import run
from tools.export.form import Choices, Format
from tools.export.formats import FORMATS
from tools.export.record import lines, record_file
from tools.export.run import export
from tools.forget import forget, print_report

ALL = tuple(form for form in FORMATS.values() if form.write_session is not None)


def texts(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what is packed in it."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".gz":
        yield gzip.decompress(content)
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            for member in tar:
                yield member.name.encode()
                yield tar.extractfile(member).read()  # type: ignore[union-attr]


def found(folder: Path, *needles: str) -> list[str]:
    """Files in which one of the needles is, as bytes or in their name."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and any(
            needle.encode() in text or needle in str(path.relative_to(folder))
            for needle in needles
            for text in texts(path)
        )
    ]


def found_in_data(data: Path, *needles: str) -> list[str]:
    """As `found`, without the tracks: no stage wrote these, so tools.forget does not know them."""
    return [name for name in found(data, *needles) if not name.startswith("tracks/")]


def contents(out: Path) -> dict[str, str]:
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
def test_no_export_has_the_person_and_it_is_as_without_them(form: Format, tmp_path: Path) -> None:
    data, out = write_shared_sessions(tmp_path / "data", ("anna", "loud", "quiet")), tmp_path / "out"
    export(data, form, out, Choices())
    assert found(out, "anna", SHE)
    report = forget(data, SHE)
    assert report.files > 2 and not report.exported and not report.unreached
    assert found(out, "anna", SHE) == [] and found_in_data(data, "anna", SHE) == []
    others = write_shared_sessions(tmp_path / "others", ("loud", "quiet"))
    export(others, form, tmp_path / "without", Choices())
    assert contents(out) == contents(tmp_path / "without")
    files = {line["file"]: line["sha256"] for line in lines(data) if line["what"] == "file"}
    assert files == {name: sha for name, sha in contents(out).items() if not name.startswith(".export")}
    assert export(data, form, out, Choices()).unchanged == 2  # it can still be brought up to date


def test_copies_that_were_handed_out_and_moved_are_named_again_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "loud", "quiet"))
    form = FORMATS["moshi"]
    for name, sessions in (("handed", ()), ("moved", ()), ("other", ("quiet",))):
        export(data, form, tmp_path / name, Choices(sessions=sessions), handed_to=f"lab {name}")
    (tmp_path / "moved").rename(tmp_path / "elsewhere")
    report = forget(data, SHE)
    expected = [
        f"{tmp_path / 'handed'} (moshi): a copy was handed to lab handed",
        f"{tmp_path / 'moved'} (moshi): not there any more: moved, deleted or not mounted",
        f"{tmp_path / 'moved'} (moshi): a copy was handed to lab moved",
    ]
    assert report.exported == expected and not report.unreached
    print_report(report)
    assert "only their owners can delete" in capsys.readouterr().out
    assert found(tmp_path / "handed", "anna", SHE) == [] and found_in_data(data, "anna", SHE) == []
    assert forget(data, SHE).exported == expected  # the record still knows them
    (tmp_path / "elsewhere").rename(tmp_path / "moved")  # the disk is mounted again
    assert forget(data, SHE).exported == [expected[0], expected[2]]
    assert found(tmp_path / "moved", "anna", SHE) == []


def test_a_killed_export_is_cleaned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = write_shared_sessions(tmp_path / "data", ("anna", "quiet")), tmp_path / "out"

    def killed(out: Path, note: object) -> None:
        if "anna" in str(note):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_note", killed)
        with pytest.raises(KeyboardInterrupt):
            export(data, FORMATS["moshi"], out, Choices())
    (out / ".export/unfinished/anna").mkdir(parents=True, exist_ok=True)
    (out / ".export/unfinished/anna/a.wav").write_text("half")
    assert found(out, "anna")
    forget(data, SHE)
    assert found(out, "anna", SHE) == []


def test_a_folder_that_cannot_be_read_is_listed_and_stays_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools.export import removal

    data, out = write_shared_sessions(tmp_path / "data", ("anna", "quiet")), tmp_path / "out"
    export(data, FORMATS["moshi"], out, Choices())
    with monkeypatch.context() as patch:
        patch.setattr(removal, "is_export", lambda out: (_ for _ in ()).throw(OSError(5, "I/O error")))
        report = forget(data, SHE)
    assert report.unreached == [f"{out.resolve()}: [Errno 5] I/O error"]
    assert any("anna" in line.get("file", "") for line in lines(data))
    assert forget(data, SHE).unreached == [] and found(out, "anna", SHE) == []
    assert found_in_data(data, "anna", SHE) == []


def test_the_list_of_what_was_left_out_forgets_too(tmp_path: Path) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "quiet", "broken"))
    export(data, FORMATS["moshi"], tmp_path / "out", Choices(where="session_id <> 'anna'"))
    forget(data, "broken-a")
    assert found_in_data(data, "broken") == [] and found(tmp_path / "out", "broken") == []


def test_without_exports_there_is_nothing_to_do(tmp_path: Path) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "quiet"))
    forget(data, SHE)
    assert not record_file(data).exists() and found_in_data(data, "anna", SHE) == []


def test_an_export_in_a_data_folder_that_was_moved_and_a_damaged_export_are_followed(tmp_path: Path) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "quiet"))
    for form in ALL:
        export(data, form, data / "exports" / form.name, Choices())
        (data / "exports" / form.name / "export.json").write_text("{")
    moved = data.rename(tmp_path / "elsewhere")
    report = forget(moved, SHE)
    assert not report.exported and not report.unreached and found_in_data(moved, "anna", SHE) == []
    assert found_in_data(moved, "quiet")
