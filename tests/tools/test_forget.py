"""Forgetting a person: nothing of them is left below the data folder, others stay, a stopped run can be finished."""

import csv
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.engine import buckets, leave
from pipelines.engine.forgotten import is_forgotten
from pipelines.engine.lock import folder_lock
from pipelines.ingest.stage import SOURCE_NOTE
from pipelines.quality import stage as quality_stage
from pipelines.quality.better import Choice
from pipelines.sources.hashes import SourceHashes
from tests.helpers.found_people import person, write_people
from tests.helpers.processes import in_another_process
from tests.helpers.small_corpus import Person
from tests.helpers.staged_corpus import Corpus, stage_corpus
from tools import forget as tool
from tools.compact import compact_folder
from tools.forget import forget
from wanstreamer.errors import InputError
from wanstreamer.windows.loader import batches_once, open_windows

SHE = "p4242anna"
WORDS = [("red", 100, 300)]


CORPUS: Corpus = {
    "s1": ("train", 8, {"a": Person(speaker_id=SHE, words=WORDS), "b": Person(speaker_id="bob")}),
    "s10": ("train", 8, {"a": Person(speaker_id="cat", words=WORDS), "b": Person(speaker_id="bob")}),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two train sessions, `SHE` in one of them, and what stages leave beside tables."""
    data = tmp_path / "data"
    stage_corpus(data, CORPUS)
    for session in CORPUS:
        for name in (f"parts/ingest/.{session}/note.json", f"sources/{session}/a.mp4"):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(json.dumps({"files": [f"tracks/{session}.new"]}))
    (data / "reports").mkdir()
    (data / "reports/continuation.png").write_text("s1")
    for session in CORPUS:
        for name, text in (
            (f"show/peaks/{session}.a.wav.peaks", session),
            (f"runs/of-{session}/run.json", json.dumps({"session_id": session})),
            (f"runs/of-{session}/agent.wav", f"{session}."),
        ):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(text)
    (data / "models/duplex").mkdir(parents=True)
    (data / "models/duplex/model.safetensors").write_text("weights")
    lines = ["session_id,participant,speaker_id,uri", "s1,a,p4242anna,s1/a.mp4", "s10,a,cat,s10/a.mp4"]
    (data / "sources/manifest.csv").write_text("\n".join(lines) + "\n")
    note(data, data / "sources")
    hashes = SourceHashes(data / "parts/ingest-hashes", data / "sources")
    hashes.of(["s1/a.mp4", "s10/a.mp4"], 0, 1)
    write_people(data, [person(session, who) for session in CORPUS for who in "ab"])
    (data / "corrections").mkdir()
    for session in CORPUS:
        text = f'{{"stage": "people", "kind": "not_a_dyad", "value": "{session} is a radio play"}}\n'
        (data / f"corrections/{session}.jsonl").write_text(text)
    return data


def note(data: Path, source: Path | str) -> None:
    (data / "parts" / SOURCE_NOTE).write_text(json.dumps({"source": str(source), "layout": ""}))


def contents(data: Path) -> dict[str, str]:
    files = sorted(path for path in data.rglob("*") if path.is_file())
    return {str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def left_of(data: Path, *names: str) -> list[str]:
    """Where one of the names is still found: in file names, in text, in any cell of a table."""
    found: list[str] = []
    for path in sorted(file for file in data.rglob("*") if file.is_file()):
        where = str(path.relative_to(data))
        cells = ""
        if path.suffix == ".parquet":
            cells = json.dumps(pq.read_table(path, partitioning=None).to_pylist())
        elif path.suffix == ".arrow":
            cells = json.dumps(pa.ipc.open_file(path).read_all().to_pylist())
        content = path.read_bytes()
        found += [
            f"{name} in {where}"
            for name in names
            if f"/{name}/" in f"/{where}" or f"{name}." in where or f'"{name}"' in cells or name.encode() in content
        ]
    return found


def session_left_in(data: Path, session: str) -> list[str]:
    """Files that name a session: in their path, as text, in a cell of a table, or as a member of a tar."""
    word = re.compile(rf"(?<![A-Za-z0-9]){session}(?![A-Za-z0-9])")
    left = []
    for path in sorted(file for file in data.rglob("*") if file.is_file()):
        where = str(path.relative_to(data))
        if path.suffix == ".parquet":
            text = json.dumps(pq.read_table(path, partitioning=None).to_pylist())
        elif path.suffix == ".arrow":
            text = json.dumps(pa.ipc.open_file(path).read_all().to_pylist())
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                text = " ".join(tar.getnames())
        else:
            text = path.read_bytes().decode(errors="replace")
        left += [where] if word.search(where) or word.search(text) else []
    return left


def test_nothing_is_left_and_the_others_stay(data: Path) -> None:
    assert left_of(data, SHE) and len(session_left_in(data, "s1")) > 20
    report = forget(data, SHE)
    assert report.sessions == ["s1"] and report.rows > 0 and not report.outside
    assert [path.name for path in report.weights] == ["model.safetensors", "tokenizer.json"]
    assert left_of(data, SHE) == [] and session_left_in(data, "s1") == []
    assert [name for name in contents(data) if "s1/" in name or "s1." in name or "reports" in name] == []
    for table in sorted(data.glob("tables/[!r]*/*.parquet")):
        sessions = set(pq.read_table(table, partitioning=None)["session_id"].to_pylist())
        assert sessions <= {"s10"} and (sessions or table.parent.name not in ("windows", "tracks", "hashes"))
    assert not (data / "show").exists() and [path.name for path in (data / "runs").iterdir()] == ["of-s10"]
    assert (data / "sources/manifest.csv").read_text().splitlines()[1:] == ["s10,a,cat,s10/a.mp4"]
    windows = open_windows(data / "windows", "train")  # checks the index against the manifest
    assert {row["session_id"] for row in windows.rows} == {"s10"}
    assert sum(len(batch.window_id) for batch in batches_once(windows, 2)) == len(windows.rows) == 4
    assert is_forgotten(data, SHE) and not is_forgotten(data, "bob")
    assert SHE not in (data / "forgotten.json").read_text()


def test_again_changes_nothing_and_a_stranger_is_an_error(data: Path) -> None:
    forget(data, SHE)
    once = contents(data)
    assert forget(data, SHE).sessions == []
    assert contents(data) == once
    with pytest.raises(InputError, match="no speaker dan"):
        forget(data, "dan")
    assert contents(data) == once
    with pytest.raises(InputError, match="no such data folder"):
        forget(data / "nowhere", SHE)


def test_what_would_go_is_said_before_anything_goes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(data)
    tool.main(["--speaker", SHE, "--data", str(data), "--dry-run"])
    assert capsys.readouterr().out == f"{SHE} speaks in 1 sessions: s1\n"
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--speaker", SHE, "--data", str(data)])
    said = capsys.readouterr()
    assert stopped.value.code == 2 and "pass --yes" in said.err and "1 sessions: s1" in said.out
    assert contents(data) == before


@pytest.mark.parametrize("stop", range(1, 17))
def test_a_stopped_run_is_finished_by_the_next(data: Path, stop: int) -> None:
    steps = 0

    def stopping(module: Any, name: str) -> Any:
        real = getattr(module, name)

        def step(*args: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == stop:
                raise KeyboardInterrupt
            return real(*args, **options)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((tool, "_remove"), (tool, "drop_rows"), (leave, "merge_bucket"), (leave, "sum_up")):
            patch.setattr(module, name, stopping(module, name))
        with pytest.raises(KeyboardInterrupt):
            forget(data, SHE)
    forget(data, SHE)
    assert left_of(data, SHE) == []
    assert {row["session_id"] for row in open_windows(data / "windows", "train").rows} == {"s10"}


def test_recordings_elsewhere_are_listed_and_stay_and_their_manifest_loses_her(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    (data / "sources").rename(mine)
    note(data, mine)
    tool.main(["--speaker", SHE, "--data", str(data), "--dry-run"])
    assert f"their rows in your manifest {mine}/manifest.csv will be removed too" in capsys.readouterr().out
    report = forget(data, SHE)
    assert report.outside == [str((mine / "s1/a.mp4").resolve())]
    assert (mine / "s1/a.mp4").is_file()
    assert report.manifests == [str(mine / "manifest.csv")] and left_of(tmp_path, SHE) == []
    assert (mine / "manifest.csv").read_text().splitlines()[1:] == ["s10,a,cat,s10/a.mp4"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("place", ["folder", "file", "bucket"])
def test_no_manifest_keeps_the_person(data: Path, tmp_path: Path, suffix: str, place: str) -> None:
    """In a folder, named directly, and in an object store (fsspec's memory); the other rows are as they were."""
    rows = [
        {"session_id": "s1", "participant": "a", "speaker_id": SHE, "uri": "s1/a.mp4", "language": None},
        {"session_id": "s1", "participant": "b", "speaker_id": "bob", "uri": "s1/b.mp4", "language": "en"},
        {"session_id": "s10", "participant": "a", "speaker_id": "cat", "uri": "s10/a.mp4", "language": "en"},
    ]
    (data / "sources/manifest.csv").unlink()
    if place == "bucket":
        files = fsspec.filesystem("memory")
        files.store.clear()
        address = f"/lab/manifest{suffix}"
        files.pipe_file(address, written(rows, suffix))
        note(data, "memory://lab")
    else:
        name = "people" if place == "file" else "manifest"
        path = data / "sources" / f"{name}{suffix}"
        path.write_bytes(written(rows, suffix))
        path.chmod(0o640)
        note(data, path if place == "file" else data / "sources")
    report = forget(data, SHE)
    assert report.unreached == [] and report.manifests == (["memory://lab/manifest" + suffix] * (place == "bucket"))
    content = files.cat_file(address) if place == "bucket" else path.read_bytes()
    if suffix == ".parquet":
        table = pq.read_table(io.BytesIO(content))
        assert table.to_pylist() == rows[2:] and table.schema == SCHEMA
    else:
        assert content == written(rows[2:], suffix)
    assert SHE.encode() not in content and left_of(data, SHE) == []
    assert place == "bucket" or path.stat().st_mode & 0o777 == 0o640


SCHEMA = pa.schema(
    {name: pa.dictionary(pa.int32(), pa.string()) if name == "speaker_id" else pa.string()
     for name in ("session_id", "participant", "speaker_id", "uri", "language")},
    metadata={"by": "somebody"},
)  # fmt: skip


def written(rows: list[dict[str, Any]], suffix: str) -> bytes:
    """Rows as somebody else may have written them: more quotes, other line ends and blanks than ours."""
    if suffix == ".parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out)
        return out.getvalue()
    if suffix == ".jsonl":
        return b"\n".join(json.dumps(row, separators=(",  ", ":")).encode() for row in rows) + b"\n\n"
    out_text = io.StringIO(newline="")
    writer = csv.DictWriter(out_text, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + out_text.getvalue().encode()


def test_the_second_manifest_of_a_folder_and_a_link_to_one_lose_her_too(data: Path, tmp_path: Path) -> None:
    (data / "sources/manifest.csv").rename(tmp_path / "elsewhere.csv")
    (data / "sources/manifest.csv").symlink_to(tmp_path / "elsewhere.csv")
    (data / "sources/manifest.jsonl").write_text(json.dumps({"session_id": "s1", "speaker_id": SHE, "uri": "x"}) + "\n")
    forget(data, SHE)
    assert left_of(tmp_path, SHE) == [] and (data / "sources/manifest.csv").is_symlink()


def test_a_manifest_that_cannot_be_read_is_reported(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "sources/manifest.csv").write_bytes(b"session_id,speaker_id,uri\ns1,p4242anna\xff,s1/a.mp4\n")
    with pytest.raises(SystemExit) as stopped:
        tool.main(["--speaker", SHE, "--data", str(data), "--yes"])
    said = capsys.readouterr().out
    assert stopped.value.code == 1 and "NOT reached" in said
    assert "manifest.csv: could not be rewritten (UnicodeDecodeError); remove the person's rows by hand" in said


def test_the_windows_manifest_counts_what_is_left(data: Path, tmp_path: Path) -> None:
    def counts(folder: Path) -> dict[str, Any]:
        manifest = json.loads((folder / "windows/manifest.json").read_text())
        return {name: manifest[name] for name in ("windows", "hours", "shards", "content_sha256")}

    assert counts(data)["windows"] == {"train": 8}
    forget(data, SHE)
    stage_corpus(tmp_path / "others", {"s10": CORPUS["s10"]})
    assert counts(data) == counts(tmp_path / "others") and counts(data)["windows"] == {"train": 4}


def test_cached_copies_of_tables_go(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / ".dvc/cache/files/md5"
    for place, path in enumerate(sorted([*data.glob("tables/*/*.parquet"), *data.glob("state/*/*.parquet")])):
        (cache / f"{place:02d}").mkdir(parents=True)
        (cache / f"{place:02d}/copy").write_bytes(path.read_bytes())
        (cache / f"{place:02d}/copy").chmod(0o444)
    (cache / "other").write_text("nothing about her")
    forget(data, SHE, cache=tmp_path / ".dvc/cache")
    left = [json.dumps(pq.read_table(path).to_pylist()) for path in cache.glob("*/copy")]
    assert left and not any('"s1"' in cells or SHE in cells for cells in left)
    assert (cache / "other").is_file()


def test_a_stopped_pack_leaves_nothing_of_the_person(data: Path) -> None:
    (data / "windows/manifest.json").unlink()
    forget(data, SHE)
    assert (
        left_of(data, SHE) == [] and session_left_in(data, "s1") == [] and not (data / "windows/manifest.json").exists()
    )


def test_a_recording_that_holds_another_session_too_stays_and_is_listed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["session_id,participant,speaker_id,uri,channel", f"s1,a,{SHE},both.wav,0", "s10,a,cat,both.wav,1"]
    (data / "sources/manifest.csv").write_text("\n".join(lines) + "\n")
    (data / "sources/both.wav").write_text("both")
    report = forget(data, SHE)
    assert (data / "sources/both.wav").is_file() and report.outside == [str(data / "sources/both.wav")]
    tool.print_report(report)
    assert "hold another session too" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "is_hers"),
    [
        ("call", True),
        ("call/a", True),
        ("call-a-000016", True),
        ("call-a-b-000016", True),
        ("call-2", False),
        ("call-2/a", False),
        ("calls", False),
    ],
)
def test_rejections_of_a_session_with_a_longer_name_stay(key: str, is_hers: bool) -> None:
    table = pa.table({"key": [key]})
    assert len(tool._without(table, {"call"}, None)) == (not is_hers)


def test_no_one_called_none_is_everybody_without_a_name(data: Path) -> None:
    rows = [
        {"session_id": "s1", "participant": "a", "speaker_id": "None", "uri": "s1/a.mp4"},
        {"session_id": "s10", "participant": "a", "speaker_id": None, "uri": "s10/a.mp4"},
    ]
    (data / "sources/manifest.csv").unlink()
    (data / "sources/manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    forget(data, "None")
    left = [json.loads(line) for line in (data / "sources/manifest.jsonl").read_text().splitlines()]
    assert [row["session_id"] for row in left] == ["s10"]


WHOLE: Corpus = {
    f"s{number}": (
        "train",
        8,
        {"a": Person(speaker_id=f"p{number}", words=WORDS), "b": Person(speaker_id=f"q{number}")},
    )
    for number in range(12)
}
HERS = ("s3", "s7")
WITH_HER: Corpus = {
    key: (split, num_units, {**people, "b": Person(speaker_id=SHE)} if key in HERS else people)
    for key, (split, num_units, people) in WHOLE.items()
}
NEVER: Corpus = {key: session for key, session in WHOLE.items() if key not in HERS}


def made(data: Path) -> dict[str, str]:
    """Tables, shards, windows, tracks and summaries."""
    folders = ("tables/", "latents/", "windows/", "tracks/")
    return {
        name: sha256
        for name, sha256 in contents(data).items()
        if name.startswith(folders) or re.fullmatch(r"state/\w+\.json", name)
    }


@pytest.mark.parametrize(
    ("steps", "same", "kept"),
    [
        (1, (), min),
        (2, (), min),
        (1, ("s3", "s4", "s5"), min),
        (2, ("s3", "s4", "s5"), min),
        (1, ("s2", "s4", "s7"), max),
    ],
)
def test_what_is_left_is_what_a_run_without_the_person_makes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    same: tuple[str, ...],
    kept: Callable[[Iterable[str]], str],
) -> None:
    """Of four buckets, for which the sessions that stay are enough; in one run, or grown in two. If others gave a
    recording of hers too, the best of theirs is a copy no longer: quality says so at once, and the next run packs it.
    `kept`: which of equal sessions is the best."""

    def best_of(sessions: Iterable[str]) -> Choice:
        best = kept(sessions)
        return Choice(best, {session: f"is not {best}" for session in sessions if session != best})

    monkeypatch.setattr(quality_stage, "best_of", best_of)
    monkeypatch.setattr(buckets, "SESSIONS_PER_BUCKET", 4)
    data, never = tmp_path / "data", tmp_path / "never"
    hers = {buckets.bucket_of(key, 4) for key in HERS}
    if steps == 2:
        late = sorted(key for key in NEVER if buckets.bucket_of(key, 4) not in hers)[-3:]
        first = {key: WITH_HER[key] for key in WITH_HER if key not in (*late, HERS[1])}
        stage_corpus(data, first, same=same)
        assert len(list((data / "tables/units").glob("b=*.parquet"))) == 2  # so two buckets share a shard of it later
    stage_corpus(data, WITH_HER, same=same)
    stage_corpus(never, NEVER, same=same)
    assert len(list((never / "tables/units").glob("b=*.parquet"))) == 4
    before = {path: path.stat().st_ino for path in data.rglob("*") if bucket_in(path) not in {*hers, None}}
    assert len(hers) < 4 and len(before) > 20
    report = forget(data, SHE)
    assert report.sessions == list(HERS) and bool(report.copies) == bool(same)
    changed = {path for path, inode in before.items() if path.stat().st_ino != inode}
    assert {path.parent.name for path in changed} <= ({"quality"} if same else set())
    assert session_left_in(data, "s3") == session_left_in(data, "s7") == []
    if steps == 2:
        assert made(data) != made(never)
        compact_folder(data)
    apart = {name for name in made(data) | made(never) if made(data).get(name) != made(never).get(name)}
    assert [name for name in apart if not same or not ("windows" in name or "masks" in name or "pack" in name)] == []
    stage_corpus(data, NEVER, same=same)
    compact_folder(data)
    assert made(data) == made(never)
    assert session_left_in(data, "s3") == session_left_in(data, "s7") == []


def bucket_in(path: Path) -> int | None:
    """The bucket that a table, state or shard belongs to."""
    name = re.fullmatch(r"b=(\d+)\.parquet|(\d{4})-\w+\.(tar|arrow)", path.name)
    return int(name[1] or name[2]) if name and path.parent.name != "0004" else None


def forget_there(data: Path) -> str:
    try:
        forget(data, SHE)
    except InputError as error:
        return str(error)
    return ""


def test_a_folder_in_which_a_stage_runs_is_left_alone(data: Path) -> None:
    with folder_lock(data):
        assert "in use by" in in_another_process(forget_there, data)
    assert left_of(data, SHE)
