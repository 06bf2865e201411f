"""The nemo export, read by lhotse as Shar: both sounds, roles, turns, and NeMo's rule for the length of a text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.tables import read_rows
from pipelines.formats.tokenizer import fit_tokenizer
from tests.helpers.annotated_sessions import TALK
from tests.helpers.shared_sessions import MIXED, NUM_UNITS, muted, samples_of, write_shared_sessions
from tools.export.form import Choices
from tools.export.nemo import NEMO, Said, fits, parts
from tools.export.run import export
from tools.query import query

lhotse = pytest.importorskip("lhotse")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("nemo")
    data = write_shared_sessions(folder / "data")
    export(data, NEMO, folder / "out", Choices())
    return data, folder / "out"


@pytest.fixture(autouse=True)
def soundfile() -> Iterator[None]:
    """Lhotse reads FLAC with libsndfile, whatever of torchaudio's libraries the machine has."""
    backend = lhotse.get_current_audio_backend()
    lhotse.set_current_audio_backend("LibsndfileBackend")
    yield
    lhotse.set_current_audio_backend(backend)


def cuts_of(out: Path, split: str) -> list[Any]:
    return list(lhotse.CutSet.from_shar(in_dir=out / split))


@pytest.mark.parametrize("split, sessions", [("train", ("anna", "loud")), ("valid", ("quiet",))])
def test_both_sounds_are_those_of_the_role_view(
    folders: tuple[Path, Path], split: str, sessions: tuple[str, ...]
) -> None:
    data, out = folders
    cuts = cuts_of(out, split)
    lhotse.validate(lhotse.CutSet.from_cuts(cuts), read_data=True)
    assert sorted(cut.id for cut in cuts) == sorted(f"{session}-{who}-000000" for session in sessions for who in "ab")
    for cut in cuts:
        session, agent, _ = cut.id.split("-")
        user = samples_of(data, session, "b" if agent == "a" else "a")
        if session == "loud" and agent == "a":
            user = muted(user, MIXED[0] // 160, (MIXED[1] - 1) // 160)
        assert np.array_equal(np.round(cut.load_audio()[0] * 32768).astype(int), user)
        target = np.round(cut.load_target_audio()[0] * 32768).astype(int)
        assert np.array_equal(target, samples_of(data, session, agent))
        assert cut.duration == cut.target_audio.duration == pytest.approx(NUM_UNITS * 0.16)
        assert cut.num_samples == cut.target_audio.num_samples


def test_supervisions_are_turns_and_backchannels_of_both(folders: tuple[Path, Path]) -> None:
    data, out = folders
    _, said = query(data, "SELECT session_id, participant, start_ms, end_ms, said FROM turns_said")
    spoken = {(s, who, start / 1000, end / 1000, text or "") for s, who, start, end, text in said}
    turns = {(s, who): [(start, end) for s2, who2, start, end, _ in spoken if (s, who) == (s2, who2)]
             for s, who, *_ in spoken}  # fmt: skip
    for row in read_rows(data, "ipus"):
        s, who, start, end = row["session_id"], row["participant"], row["start_ms"] / 1000, row["end_ms"] / 1000
        if not any(first <= start and end <= last for first, last in turns[s, who]):
            spoken.add((s, who, start, end, row["text"] or ""))
    exported = set()
    for cut in [cut for split in ("train", "valid") for cut in cuts_of(out, split)]:
        session, agent, _ = cut.id.split("-")
        whose = {"agent": agent, "user": "b" if agent == "a" else "a"}
        assert [each.start for each in cut.supervisions] == sorted(each.start for each in cut.supervisions)
        own = {(session, whose[each.speaker], each.start, round(each.end, 3), each.text) for each in cut.supervisions}
        assert len(own) == len(cut.supervisions)
        assert own == {each for each in spoken if each[0] == session}
        exported |= own
    assert any("mhm" in text for *_, text in exported)  # a backchannel, which is no turn


def test_long_sessions_are_cut_in_silences_and_lose_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    data, whole = folders
    report = export(data, NEMO, tmp_path / "out", Choices(cut_seconds=8, split="train"))
    cuts = sorted(cuts_of(tmp_path / "out", "train"), key=lambda cut: cut.id)
    lhotse.validate(lhotse.CutSet.from_cuts(cuts), read_data=True)
    for full in cuts_of(whole, "train"):
        own = [cut for cut in cuts if cut.id[:-7] == full.id[:-7]]
        assert len(own) > 3 and max(cut.duration for cut in own) <= 8
        for field in ("load_audio", "load_target_audio"):
            joined = np.concatenate([getattr(cut, field)()[0] for cut in own])
            assert np.array_equal(joined, getattr(full, field)()[0])
        for role in ("user", "agent"):
            said = [each.text for each in full.supervisions if each.speaker == role]
            parts = [each.text for cut in own for each in cut.supervisions if each.speaker == role]
            assert " ".join(parts).split() == " ".join(said).split()
        starts = [cut.custom["start_unit"] for cut in own]
        assert starts == sorted(set(starts)) and starts[0] == 0
    assert report.not_held["turns that go on in the next cut: divided between their words"] < len(cuts)


def test_a_cut_ends_where_no_turn_goes_on() -> None:
    said = [Said(0, 5000, None), Said(5000, 6000, None), Said(6200, 20_000, None)]
    assert parts(100, said, 8) == [range(38), range(38, 88), range(88, 100)]  # in the silence, then at the end of 8 s
    assert parts(100, [Said(0, 6400, None), Said(6400, 16_000, None)], 8) == [range(40), range(40, 90), range(90, 100)]
    assert parts(100, said, 0) == parts(100, said, 16) == [range(100)]


def test_a_text_needs_a_frame_for_each_token_and_one_for_its_begin() -> None:
    assert fits("one two three", 4 * 80, "") and not fits("one two three", 4 * 80 - 1, "")


def test_a_long_text_is_counted(tmp_path: Path) -> None:
    assert all(fits(text, end - start, "") for own in TALK.values() for start, end, text in own if text)
    data = write_shared_sessions(tmp_path / "data", ("quiet",))
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(fit_tokenizer(["x"], 300).to_str())  # a token per letter: most texts are too long
    report = export(data, NEMO, tmp_path / "out", Choices(tokenizer=str(tokenizer)))
    assert report.not_held["turns with more text than frames of 80 ms: NeMo cuts their text"] > 2
