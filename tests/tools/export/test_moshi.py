"""The moshi export, opened by sphn, and read by the rules of moshi-finetune, which are written again here."""

import bisect
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.tables import read_rows, to_table, write_table
from tests.helpers.blank_rows import blank_row
from tests.helpers.shared_sessions import MIXED, NUM_UNITS, RATE_HZ, SHARED, muted, samples_of, write_shared_sessions
from tools.export.form import Choices
from tools.export.moshi import MOSHI
from tools.export.run import export

sphn = pytest.importorskip("sphn")

DURATION_S = NUM_UNITS * 0.16
TEXT_HZ = 12.5  # moshi's text frames


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data folder and its export."""
    folder = tmp_path_factory.mktemp("moshi")
    data = write_shared_sessions(folder / "data")
    export(data, MOSHI, folder / "out", Choices())
    return data, folder / "out"


def words_of(data: Path, session: str, who: str) -> list[tuple[str, float, float]]:
    rows = read_rows(data, "words", [("session_id", "=", session), ("participant", "=", who)])
    return [(row["word"], row["start_ms"] / 1000, row["end_ms"] / 1000) for row in rows]


def read_alignments(path: Path) -> list[tuple[str, float, float]]:
    """Words of the learnt voice, by the rules of the trainer: SPEAKER_MAIN only, none without length, in order."""
    alignments: list[Any] = json.loads(path.read_text())["alignments"]
    starts = [start for _, (start, _), _ in alignments]
    assert starts == sorted(starts)
    return [(word, start, end) for word, (start, end), who in alignments if who == "SPEAKER_MAIN" and end > start]


def words_in_window(words: list[tuple[str, float, float]], start_s: float, end_s: float) -> list[str]:
    """By a search in the starts, as the trainer does."""
    starts = [start for _, start, _ in words]
    return [word for word, _, _ in words[bisect.bisect_left(starts, start_s) : bisect.bisect_left(starts, end_s)]]


@pytest.mark.parametrize("split, sessions", [("train", ("anna", "loud")), ("valid", ("quiet",))])
def test_sphn_reads_both_voices_of_every_role_view(
    folders: tuple[Path, Path], split: str, sessions: tuple[str, ...]
) -> None:
    data, out = folders
    whole: dict[str, list[np.ndarray]] = {}
    for sample in sphn.dataset_jsonl(str(out / f"{split}.jsonl"), duration_sec=10, sample_rate=RATE_HZ,
                                     pad_last_segment=True):  # fmt: skip
        assert sample["data"].shape[0] == 2
        whole.setdefault(str(sample["path"]), []).append(sample["data"][:, : sample["unpadded_len"]])
    assert sorted(Path(path).stem for path in whole) == sorted(f"{s}-{who}" for s in sessions for who in "ab")
    for path, pieces in whole.items():
        session, agent = Path(path).stem.split("-")
        heard = np.round(np.concatenate(pieces, axis=1) * 32768).astype(int)
        user = samples_of(data, session, "b" if agent == "a" else "a")
        if session == "loud" and agent == "a":  # the units that the mixed time touches
            user = muted(user, MIXED[0] // 160, (MIXED[1] - 1) // 160)
        assert np.abs(heard[0] - samples_of(data, session, agent)).max() <= 1
        assert np.abs(heard[1] - user).max() <= 1


def test_words_are_the_agents_with_their_times(folders: tuple[Path, Path]) -> None:
    data, out = folders
    for split in ("train", "valid"):
        for line in (out / f"{split}.jsonl").read_text().splitlines():
            about = json.loads(line)
            assert about["duration"] == pytest.approx(DURATION_S)
            path = (out / about["path"]).with_suffix(".json")
            session, agent = path.stem.split("-")
            ours = words_of(data, session, agent)
            assert read_alignments(path) == ours and (ours or (session, agent) == ("loud", "b"))
            window = [word for word, start, _ in ours if 10 <= start < 20]
            assert words_in_window(read_alignments(path), 10, 20) == window
            assert all(0 <= start < end <= DURATION_S for _, start, end in ours)
            assert all(int(start * TEXT_HZ) < NUM_UNITS * 2 for _, start, _ in ours)


def test_only_the_shared_are_there_and_what_is_not_held_is_counted(folders: tuple[Path, Path]) -> None:
    _, out = folders
    assert {path.stem.split("-")[0] for path in out.rglob("*.wav")} == set(SHARED)
    not_held = json.loads((out / "not_held.json").read_text())
    assert not_held["role views without words of the agent"] == not_held["role views without words of the user"] == 1
    assert not_held["units of 160 ms in which the user's sound is muted: not its own voice, or not known"] == 7
    assert not_held["events: backchannels, transitions, pauses, overlaps, other sounds"] > 0


def change(data: Path, table: str, session: str, **values: Any) -> None:
    """Set columns of one session's rows; a value that is a dict is by participant."""
    rows = [{name: row[name] for name in row if name != "schema_version"} for row in read_rows(data, table)]
    for row in rows:
        if row["session_id"] == session:
            row |= {
                name: value.get(row["participant"], row[name]) if isinstance(value, dict) else value
                for name, value in values.items()
            }
    write_table(data, table, to_table(table, rows))


def test_someone_without_sound_is_a_silent_user_and_no_agent(tmp_path: Path) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "quiet"))
    nothing = {"b": None}
    change(data, "tracks", "anna", audio_path=nothing, audio_sha256=nothing, rate_hz=nothing)
    report = export(data, MOSHI, tmp_path / "out", Choices())
    assert [path.stem for path in (tmp_path / "out").rglob("anna*.wav")] == ["anna-a"]
    with wave.open(str(next((tmp_path / "out").rglob("anna-a.wav")))) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert np.array_equal(both[:, 0], samples_of(data, "anna", "a")) and not both[:, 1].any()
    assert report.not_held["role views without a sound that is the agent's own: left out"] == 1


def test_sound_that_is_all_mixed_is_no_agent(tmp_path: Path) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "quiet"))
    change(data, "tracks", "anna", mixed=[{"start_ms": 0, "end_ms": NUM_UNITS * 160}])
    report = export(data, MOSHI, tmp_path / "out", Choices())
    assert {each.session_id: each.reason for each in report.left_out} == {"anna": "no_view"}
    assert not list((tmp_path / "out").rglob("anna*"))


def test_two_rates_and_bad_quality_are_left_out_with_their_reason(tmp_path: Path) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "loud", "quiet"))
    change(data, "tracks", "anna", rate_hz={"b": 24000})
    quality = [blank_row("quality", session_id=session, participant=who, usable=session != "loud")
               for session in ("anna", "loud", "quiet") for who in "ab"]  # fmt: skip
    write_table(data, "quality", to_table("quality", quality))
    report = export(data, MOSHI, tmp_path / "out", Choices())
    assert {each.session_id: each.reason for each in report.left_out} == {"anna": "rates_differ", "loud": "not_usable"}


def test_times_that_do_not_fit_are_no_words(tmp_path: Path) -> None:
    data = write_shared_sessions(tmp_path / "data", ("anna", "quiet"))
    change(data, "words", "anna", times_fit={"a": False})
    report = export(data, MOSHI, tmp_path / "out", Choices())
    assert read_alignments(next((tmp_path / "out").rglob("anna-a.json"))) == []
    assert read_alignments(next((tmp_path / "out").rglob("anna-b.json"))) == words_of(data, "anna", "b")
    number = len(words_of(data, "anna", "a"))
    assert report.not_held["words whose times do not fit the speech: left out"] == number
