"""The moshi export, opened by sphn, and read by the rules of moshi-finetune, which are written again here."""

import bisect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.tables import read_rows
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
