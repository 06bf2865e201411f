"""pack: which units a window holds, where each word's ids go, what is masked so that nobody hears their own voice."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.params import build_params
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows, to_table, write_table
from pipelines.formats.tokenizer import BLANK_ID, MISSING_ID, fit_tokenizer, load_tokenizer
from pipelines.pack import stage as pack
from pipelines.pack.role_views import allot_text, view_masks
from pipelines.pack.stage import PackParams, PackSession, free_starts, window_starts
from schemas import TABLES
from tests.helpers.small_corpus import AUDIO_SHAPE, VIDEO_SHAPE, Person, keep_in_process, latent, write_corpus
from wanstreamer.errors import InputError
from wanstreamer.windows.loader import LABELS, load_sample, open_windows, read_manifest

PARAMS = PackParams(window_units=8, stride_units=4)


@pytest.fixture
def in_process(monkeypatch):
    keep_in_process(monkeypatch)


def talkers(**changes: object) -> dict[str, Person]:
    """A dyad: a says two words in units 2 and 3, b answers in units 6 to 8."""
    a = Person(words=[("red", 330, 470), ("blue", 480, 640)], speech_units={2, 3})
    b = Person(words=[("yes", 960, 1400)], speech_units={6, 7, 8})
    for name, value in changes.items():
        setattr(a if name.startswith("a_") else b, name[2:], value)
    return {"a": a, "b": b}


def pack_all(data: Path, params: PackParams = PARAMS, workers: int = 2) -> dict:
    return pack.run(data, params, RunParams(workers=workers))


def samples(data: Path, split: str = "train") -> dict[str, dict[str, np.ndarray]]:
    windows = open_windows(data / "windows", split)
    return {row["window_id"]: load_sample(windows, i) for i, row in enumerate(windows.rows)}


def file_hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


@given(st.integers(0, 200), st.integers(1, 40), st.data())
def test_windows_cover_every_unit_and_never_leave_the_session(num_units, window_units, data):
    stride = data.draw(st.integers(1, window_units))
    starts = window_starts(num_units, window_units, stride)
    covered = {unit for start in starts for unit in range(start, start + window_units)}
    assert covered == (set(range(num_units)) if num_units >= window_units else set())
    assert starts == sorted(set(starts))


def test_both_views_of_a_dyad_hold_the_units_of_their_window(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"s0": ("train", 18, talkers())})
    counts = pack_all(tmp_path / "data")
    packed = samples(tmp_path / "data")
    starts = ["000000", "000004", "000008", "000010"]
    assert sorted(packed) == [f"s0-{agent}-{start}" for agent in "ab" for start in starts]
    masks = {row["reason"] for row in read_rows(tmp_path / "data", "masks")}
    assert counts["rows"] == {"windows": 8, "masks": 2 * len(masks)} and counts["keys"] == counts["done"] == 1
    audio = {who: latent(place, 18, AUDIO_SHAPE) for place, who in enumerate("ab")}
    video = {who: latent(place, 18, VIDEO_SHAPE) for place, who in enumerate("ab")}
    for window_id, sample in packed.items():
        _, agent, start = window_id.split("-")
        user, units = {"a": "b", "b": "a"}[agent], slice(int(start), int(start) + 8)
        np.testing.assert_array_equal(sample["agent_audio"], audio[agent][units])
        np.testing.assert_array_equal(sample["user_audio"], audio[user][units])
        np.testing.assert_array_equal(sample["agent_video"], video[agent][units])
        np.testing.assert_array_equal(sample["user_video"], video[user][units])
        assert all(sample[name].all() for name in sample if name.endswith("_known"))
    speech = packed["s0-a-000000"]["labels"][:, LABELS.index("agent_speech_ms")]
    assert speech.tolist() == [0, 0, 160, 160, 0, 0, 0, 0]


def test_agent_words_lead_their_sound_and_user_words_follow_their_end(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"s0": ("train", 16, talkers())})
    # "red", "blue" and "yes" must be one id each: fit on them often enough.
    words = [(word, 100 * i, 100 * i + 50) for i, word in enumerate(["red", "blue", "yes"] * 6)]
    write_corpus(
        tmp_path / "data",
        {"s0": ("train", 16, talkers()), "t0": ("train", 16, {"a": Person(words=words), "b": Person()})},
    )
    pack_all(tmp_path / "data")
    tokenizer = load_tokenizer(tmp_path / "data/models/tokenizer.json")
    red, blue, yes = (tokenizer.encode_word(word) for word in ("red", "blue", "yes"))
    assert [len(ids) for ids in (red, blue, yes)] == [1, 1, 1]
    packed = samples(tmp_path / "data")
    blank = [BLANK_ID, BLANK_ID]
    # a as agent: red starts in unit 2 and is there from 1 on, blue starts in unit 3 and is there from 2 on.
    text = packed["s0-a-000000"]["agent_text"].tolist()
    assert text == [blank, [*red, BLANK_ID], [*blue, BLANK_ID], *[blank] * 5]
    # a as user: red ends in unit 2, blue at the end of unit 3 (half-open): each is there one unit later.
    text = packed["s0-b-000000"]["user_text"].tolist()
    assert text == [*[blank] * 3, [*red, BLANK_ID], [*blue, BLANK_ID], *[blank] * 3]
    # b's word ends inside unit 8: on the session's clock, whatever the window's start.
    assert packed["s0-a-000008"]["user_text"].tolist() == [blank, [*yes, BLANK_ID], *[blank] * 6]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(3, 99), max_size=7)), max_size=8).map(sorted),
    st.integers(1, 3),
)
def test_text_is_queued_never_early_never_reordered_never_lost_silently(words, text_slots):
    slots, lost = allot_text(words, 12, text_slots)
    ids = [text_id for _, word in words for text_id in word]
    placed = [text_id for text_id in slots.ravel().tolist() if text_id != BLANK_ID]
    assert placed == ids[: len(placed)] and len(placed) + lost == len(ids)
    units = [unit for unit in range(12) for text_id in slots[unit] if text_id != BLANK_ID]
    earliest = [unit for unit, word in words for _ in word]
    assert all(unit >= least for unit, least in zip(units, earliest, strict=False))


def test_long_words_overflow_into_the_next_units_and_the_sessions_end_is_counted(tmp_path, in_process):
    long_word = "abcdefghij"
    people = {"a": Person(words=[(long_word, 1300, 2500)]), "b": Person()}
    write_corpus(tmp_path / "data", {"s0": ("valid", 16, people), "s1": ("train", 16, talkers())})
    counts = pack_all(tmp_path / "data")
    ids = load_tokenizer(tmp_path / "data/models/tokenizer.json").encode_word(long_word)
    assert len(ids) > 4  # never fitted: a few bytes an id
    packed = samples(tmp_path / "data", "valid")
    text = packed["s0-a-000004"]["agent_text"]  # units 4 to 11; the word enters in 7
    assert not text[:3].any()
    queued = text[3:].ravel()[: len(ids)]
    assert queued.tolist() == ids[: len(queued)]
    # As the user's, the word may enter in unit 16 at the soonest: past the end, and said so.
    assert counts["rejected"] == {"user_text_past_end": 1}
    row = read_rows_rejections(tmp_path / "data")[0]
    assert (row["key"], row["reason"], row["detail"]) == ("s0/b", "user_text_past_end", f"{len(ids)} tokens")


def read_rows_rejections(data: Path) -> list[dict]:
    return read_rows(data, "rejections/pack")


def test_no_transcript_is_missing_not_blank(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"s0": ("train", 8, talkers(b_words=None))})
    pack_all(tmp_path / "data")
    packed = samples(tmp_path / "data")
    assert (packed["s0-a-000000"]["user_text"] == MISSING_ID).all()
    assert not packed["s0-a-000000"]["user_text_known"].any()
    assert (packed["s0-b-000000"]["agent_text"] == MISSING_ID).all()
    assert not packed["s0-b-000000"]["agent_text_known"].any()
    assert packed["s0-a-000000"]["agent_text_known"].all()


def test_a_missing_modality_is_zeros_and_unknown(tmp_path, in_process):
    write_corpus(
        tmp_path / "data",
        {"s0": ("train", 8, talkers(a_has_video=False, b_has_audio=False)), "s1": ("train", 8, talkers())},
    )
    pack_all(tmp_path / "data")
    sample = samples(tmp_path / "data")["s0-a-000000"]
    for name in ("agent_video", "user_audio"):
        assert not sample[name].any() and not sample[f"{name}_known"].any()
    for name in ("agent_audio", "user_video"):
        assert sample[name].all() and sample[f"{name}_known"].all()


def test_user_audio_that_bleeds_is_masked_exactly_while_the_agent_speaks(tmp_path, in_process):
    """Invariant 10, with a copy of the same session that bleeds at -20 dB."""
    clean, bleeding = talkers(b_bleed_db=-40.0), talkers(b_bleed_db=-20.0)
    write_corpus(tmp_path / "data", {"clean": ("train", 16, clean), "loud": ("train", 16, bleeding)})
    counts = pack_all(tmp_path / "data")
    packed = samples(tmp_path / "data")
    # Agent a speaks in units 2 and 3; one unit of guard on both sides.
    masked = ~packed["loud-a-000000"]["user_audio_known"]
    assert np.flatnonzero(masked).tolist() == [1, 2, 3, 4]
    assert not packed["loud-a-000000"]["user_audio"][masked].any()  # no trace of the voice in the array either
    assert packed["loud-a-000000"]["user_audio"][~masked].all()
    assert packed["loud-a-000008"]["user_audio_known"].all()
    # a's own track does not bleed: the view with b as agent keeps all it hears.
    assert all(packed[f"loud-b-{start}"]["user_audio_known"].all() for start in ("000000", "000004", "000008"))
    assert all(sample["user_audio_known"].all() for key, sample in packed.items() if key.startswith("clean"))
    # b as agent has no loss where its own track holds a's voice.
    assert np.flatnonzero(~packed["loud-b-000000"]["agent_audio_known"]).tolist() == [1, 2, 3, 4]
    # Nothing else of the session is masked: the pictures, and the targets of a.
    assert all(sample["user_video_known"].all() and sample["agent_video_known"].all() for sample in packed.values())
    assert all(sample["agent_audio_known"].all() for key, sample in packed.items() if not key.startswith("loud-b"))
    assert counts["masked_units"]["user_audio_bleed"] == counts["masked_units"]["agent_audio_bleed"] == 4
    rows = {row["window_id"]: row["user_audio_masked_units"] for row in read_rows(tmp_path / "data", "windows")}
    assert rows["loud-a-000000"] == 4 and rows["loud-a-000004"] == 1 and rows["clean-a-000000"] == 0


def test_bleed_masks_where_it_is_unknown_who_speaks():
    people = talkers(b_bleed_db=-20.0)
    spec = spec_of(people, 6)
    spec["units"]["a"] = [[unit, None if unit == 4 else 0, False, None, False, False] for unit in range(6)]
    masks = view_masks(spec, "a", "b", PARAMS)
    assert np.flatnonzero(masks["user_audio_bleed"]).tolist() == [3, 4, 5]
    spec["units"]["a"][0][5] = True  # laughter bleeds as speech does
    masks = view_masks(spec, "a", "b", PARAMS)
    assert np.flatnonzero(masks["user_audio_bleed"]).tolist() == [0, 1, 3, 4, 5]


def test_bleed_masks_where_it_is_heard_though_no_one_speaks():
    spec = spec_of(talkers(b_bleed_db=-20.0), 12)
    spec["units"]["a"] = [[unit, 0, False, None, False, False] for unit in range(12)]
    spec["units"]["b"][8][7] = True  # an echo, a breath
    assert np.flatnonzero(view_masks(spec, "a", "b", PARAMS)["user_audio_bleed"]).tolist() == [7, 8, 9]
    spec["units"]["b"][8][6] = -40.0
    assert not view_masks(spec, "a", "b", PARAMS)["user_audio_bleed"].any()


def test_a_picture_that_does_not_show_the_person_is_neither_seen_nor_learnt(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"s0": ("train", 16, talkers(a_hidden_units={3, 4}))})
    counts = pack_all(tmp_path / "data")
    packed = samples(tmp_path / "data")
    as_agent, as_user = packed["s0-a-000000"], packed["s0-b-000000"]
    for sample, role in ((as_agent, "agent"), (as_user, "user")):
        assert np.flatnonzero(~sample[f"{role}_video_known"]).tolist() == [3, 4]
        assert not sample[f"{role}_video"][3:5].any() and sample[f"{role}_video"][[2, 5]].all()
        assert sample[f"{role}_audio_known"].all()
    assert as_agent["user_video_known"].all() and as_user["agent_video_known"].all()
    masked = {reason: count for reason, count in counts["masked_units"].items() if "not_visible" in reason and count}
    assert masked == {"agent_video_not_visible": 2, "user_video_not_visible": 2}


def test_nothing_is_learned_from_units_in_which_no_one_can_tell_whose_voice_it_is():
    spec = spec_of(talkers(), 6)
    for who in "ab":
        spec["units"][who][2:4] = [[unit, None, False, None, True, False, None, False] for unit in (2, 3)]
    masks = view_masks(spec, "a", "b", PARAMS)
    for reason in ("user_audio_mixed", "agent_audio_mixed", "agent_text_unattributed", "user_text_unattributed"):
        assert np.flatnonzero(masks[reason]).tolist() == [2, 3], reason


def test_the_text_of_a_transcript_with_wrong_times_is_neither_read_nor_learnt():
    spec = spec_of(talkers(), 6)
    spec["words"] = {"a": [["red?", 0, 200, False]], "b": [["no", 400, 600, True]]}
    masks = view_masks(spec, "a", "b", PARAMS)
    assert masks["agent_text_misplaced"].all() and not masks["user_text_misplaced"].any()
    masks = view_masks(spec, "b", "a", PARAMS)
    assert masks["user_text_misplaced"].all() and not masks["agent_text_misplaced"].any()


def spec_of(people: dict[str, Person], num_units: int) -> dict:
    return {
        "num_units": num_units,
        "tracks": {
            who: {
                "mixed": [{"start_ms": start, "end_ms": end} for start, end in person.mixed],
                "words_sha256": "w" * 64,
                "attributed": person.attributed,
            }
            for who, person in people.items()
        },
        "latents": {who: {"audio_member": "audio", "video_member": "video"} for who in people},
        "words": {},
        "units": {
            who: [
                [unit, 160 * (unit in person.speech_units), False, None, False, False, person.bleed_db, False]
                for unit in range(num_units)
            ]
            for who, person in people.items()
        },
    }


def test_shared_sound_is_neither_heard_nor_learnt(tmp_path, in_process):
    """Invariant 10: units 5 to 7 of b's track hold both voices."""
    shared = talkers(b_mixed=[(900, 1121)])
    unattributed = talkers(b_mixed=[(0, 16 * 160)], b_attributed=False, a_mixed=[(0, 16 * 160)], a_attributed=False)
    write_corpus(tmp_path / "data", {"s0": ("train", 16, shared), "s1": ("train", 16, unattributed)})
    counts = pack_all(tmp_path / "data")
    packed = samples(tmp_path / "data")
    heard, learnt = packed["s0-a-000000"]["user_audio_known"], packed["s0-b-000000"]["agent_audio_known"]
    assert np.flatnonzero(~heard).tolist() == np.flatnonzero(~learnt).tolist() == [5, 6, 7]
    assert packed["s0-b-000000"]["agent_text_known"].all()  # whose words they are is known
    for key in ("s1-a-000000", "s1-b-000008"):
        assert not packed[key]["user_audio_known"].any() and not packed[key]["user_audio"].any()
        assert not packed[key]["agent_audio_known"].any() and not packed[key]["agent_text_known"].any()
        assert (packed[key]["agent_text"] == MISSING_ID).all()
        assert packed[key]["user_video_known"].all()
    assert counts["masked_units"]["user_audio_mixed"] == 3 + 2 * 16
    assert counts["masked_units"]["agent_text_unattributed"] == 2 * 16


def test_a_session_of_poor_quality_gets_no_windows(tmp_path, in_process):
    data = tmp_path / "data"
    write_corpus(data, {"fine": ("train", 16, talkers()), "poor": ("train", 16, talkers())})
    facts = {field.name: None for field in TABLES["quality"].fields}
    rows = [
        {**facts, "session_id": session, "participant": who, "usable": (session, who) != ("poor", "b")}
        for session in ("fine", "poor")
        for who in "ab"
    ]
    write_table(data, "quality", to_table("quality", rows))
    assert pack_all(data)["rejected"] == {"poor_quality": 1}
    rejected = read_rows_rejections(data)
    assert [(row["key"], row["detail"].split(":")[0]) for row in rejected] == [("poor", "participant b")]


def test_every_session_reappears_as_windows_or_as_a_rejection(tmp_path, in_process):
    """Invariant 1."""
    write_corpus(
        tmp_path / "data",
        {
            "alone": ("train", 16, {"a": Person()}),
            "good": ("train", 16, talkers()),
            "refused": ("train", 16, talkers(a_consent=["share", "show"])),
            "short": ("train", 7, talkers()),
            "three": ("train", 16, talkers() | {"c": Person()}),
        },
    )
    counts = pack_all(tmp_path / "data")
    reasons = {row["key"]: row["reason"] for row in read_rows_rejections(tmp_path / "data")}
    assert reasons == {
        "alone": "not_a_dyad",
        "refused": "no_consent_to_train",
        "short": "shorter_than_window",
        "three": "not_a_dyad",
    }
    assert counts["keys"] == 5 and counts["done"] == 1 and sum(counts["rejected"].values()) == 4
    assert {row["session_id"] for row in open_windows(tmp_path / "data/windows", "train").rows} == {"good"}
    assert {shard["split"] for shard in read_manifest(tmp_path / "data/windows").shards} == {"train"}


def test_pairs_of_a_meeting_get_windows_while_nobody_else_speaks(tmp_path, in_process):
    """b talks with a and with c, not a with c; d speaks in unit 9."""
    people = {"a": Person(partners=["b"]), "b": Person(), "c": Person(partners=["b"]), "d": Person(speech_units={9})}
    people["c"].speech_units = {2}
    write_corpus(tmp_path / "data", {"meeting": ("train", 20, people)})
    counts = pack_all(tmp_path / "data", PackParams(window_units=6, stride_units=6))
    packed = sorted(samples(tmp_path / "data"))
    with_c = [f"meeting-{view}-{start:06d}" for view in ("b-c", "c-b") for start in (0, 3, 10, 14)]
    with_a = [f"meeting-{view}-{start:06d}" for view in ("a-b", "b-a") for start in (3, 10, 14)]
    assert packed == sorted(with_a + with_c)
    reasons = {row["key"]: row["detail"] for row in read_rows_rejections(tmp_path / "data")}
    assert reasons == {
        "meeting/a-b": "4 units", "meeting/b-a": "4 units", "meeting/b-c": "1 units", "meeting/c-b": "1 units",
    }  # fmt: skip
    assert counts["rejected"] == {"third_speaker": 4}


@given(blocked=st.lists(st.booleans(), min_size=1, max_size=40), window=st.integers(2, 8), stride=st.integers(1, 8))
def test_free_windows_cover_every_free_run_and_touch_no_blocked_unit(blocked, window, stride):
    starts, left_out = free_starts(np.array(blocked), window, min(stride, window))
    covered = {unit for start in starts for unit in range(start, start + window)}
    assert not any(blocked[unit] for unit in covered) and len(blocked) - len(covered) == left_out
    for start in range(len(blocked) - window + 1):
        if not any(blocked[start : start + window]):
            assert set(range(start, start + window)) <= covered


def test_windows_with_little_talk_are_left_out_by_name(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"s0": ("train", 16, talkers())})
    counts = pack_all(tmp_path / "data", PackParams(window_units=8, stride_units=8, min_talk_ms=161))
    # Units 8 to 15 hold one unit of b's speech.
    assert sorted(samples(tmp_path / "data")) == ["s0-a-000000", "s0-b-000000"]
    assert counts["rejected"] == {"little_talk": 2}


def test_windows_of_which_none_is_for_training_are_told(tmp_path, in_process, capsys):
    write_corpus(tmp_path / "data", {"s0": ("valid", 16, talkers())})
    pack_all(tmp_path / "data")
    assert "pack: warning: no window is in the train split; " in capsys.readouterr().err
    write_corpus(tmp_path / "data", {"s0": ("train", 16, talkers())})
    pack_all(tmp_path / "data")
    assert "warning" not in capsys.readouterr().err


def test_windows_without_any_speech_are_told(tmp_path, in_process, capsys):
    silent = {"a": Person(), "b": Person()}
    write_corpus(tmp_path / "data", {"s0": ("train", 16, talkers()), "s1": ("train", 16, silent)})
    pack_all(tmp_path / "data")
    said = capsys.readouterr().err
    assert "pack: warning: 6 of 12 windows have no speech of anyone" in said and "in 1 sessions (s1); " in said
    write_corpus(tmp_path / "more", {"s0": ("train", 48, talkers())})  # they speak in the first 16 units only
    pack_all(tmp_path / "more", PackParams(window_units=8, stride_units=8))
    said = capsys.readouterr().err
    assert "pack: warning: 8 of 12 windows have no speech of anyone that can be attributed; a model" in said


def test_no_window_at_all_is_the_users_to_know(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"alone": ("train", 16, {"a": Person()})})
    with pytest.raises(InputError, match="no window could be made .1 not_a_dyad"):
        pack_all(tmp_path / "data")
    assert not (tmp_path / "data/windows/manifest.json").exists()


def test_a_killed_run_leaves_no_manifest_over_foreign_shards(tmp_path, in_process, monkeypatch):
    """Invariant 3: what a reader can open is whole."""
    write_corpus(tmp_path / "data", {f"s{i}": ("train", 16, talkers()) for i in range(3)})
    pack_all(tmp_path / "data")
    whole = file_hashes(tmp_path / "data/windows")
    packed = PackSession.__call__

    def killed(self, job, data, scratch):
        if job.key == "s1":
            raise KeyboardInterrupt
        return packed(self, job, data, scratch)

    with monkeypatch.context() as patch:
        patch.setattr(PackSession, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            pack_all(tmp_path / "data", PackParams(window_units=8, stride_units=8))
    with pytest.raises(InputError, match="no window manifest; run the pack stage"):
        read_manifest(tmp_path / "data/windows")
    pack_all(tmp_path / "data")
    assert file_hashes(tmp_path / "data/windows") == whole


def test_tokenizer_reads_words_of_train_tracks_only(tmp_path, in_process):
    """Invariant 5: what is held out does not shape the vocabulary."""
    secret = [("zanzibar", 200 * i, 200 * i + 100) for i in range(12)]
    held_out = {"a": Person(words=secret), "b": Person()}
    sessions = {"s0": ("train", 16, talkers()), "s1": ("test", 16, held_out), "s2": ("valid", 16, held_out)}
    write_corpus(tmp_path / "data", sessions)
    pack_all(tmp_path / "data")
    tokenizer = load_tokenizer(tmp_path / "data/models/tokenizer.json")
    assert len(tokenizer.encode_word("zanzibar")) == len(" zanzibar")
    write_corpus(tmp_path / "seen", {**sessions, "s3": ("train", 16, held_out)})
    pack_all(tmp_path / "seen")
    assert len(load_tokenizer(tmp_path / "seen/models/tokenizer.json").encode_word("zanzibar")) == 1


def test_a_tokenizer_is_fitted_again_only_if_its_words_or_it_changed(tmp_path, in_process, monkeypatch):
    fitted = []

    def fit(words, vocab_size):
        fitted.append(sorted(set(words)))
        return fit_tokenizer(words, vocab_size)

    monkeypatch.setattr(pack, "fit_tokenizer", fit)
    data, path = tmp_path / "data", tmp_path / "data/models/tokenizer.json"
    sessions = {"s0": ("train", 16, talkers())}
    write_corpus(data, sessions)
    pack_all(data)
    whole = path.read_bytes()
    pack_all(data)
    assert len(fitted) == 1
    path.write_bytes(whole[:-2])
    pack_all(data)
    assert len(fitted) == 2 and path.read_bytes() == whole
    pack_all(data, PackParams(window_units=8, stride_units=8, vocab_size=400))
    assert len(fitted) == 3
    people = {"a": Person(words=[("zanzibar", 200, 300)]), "b": Person()}
    write_corpus(data, {**sessions, "s3": ("train", 16, people)})
    pack_all(data)
    assert len(fitted) == 4 and "zanzibar" in fitted[-1] and "zanzibar" not in fitted[0]


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, monkeypatch, ray_once):
    """Invariant 2. One is this process."""
    sessions = {f"s{i}": ("train", 16 + i, talkers()) for i in range(4)}
    for name in ("one", "two"):
        write_corpus(tmp_path / name, sessions)
    pack_all(tmp_path / "two", workers=2)
    keep_in_process(monkeypatch)
    pack_all(tmp_path / "one", workers=1)
    outputs = [
        file_hashes(tmp_path / name / folder) for folder in ("windows", "tables", "models") for name in ("one", "two")
    ]
    assert outputs[0] == outputs[1] and outputs[2] == outputs[3] and outputs[4] == outputs[5]
    assert len(outputs[0]) == 4  # shard, index, runs, manifest


def test_a_new_session_with_a_frozen_tokenizer_is_the_only_one_packed(tmp_path, in_process):
    """Invariant 3."""
    frozen = tmp_path / "frozen.json"
    frozen.write_text(fit_tokenizer(["red", "blue"] * 5, 300).to_str())
    params = PackParams(window_units=8, stride_units=4, tokenizer=str(frozen))
    sessions = {f"s{i}": ("train", 16, talkers()) for i in range(3)}
    write_corpus(tmp_path / "data", sessions)
    pack_all(tmp_path / "data", params)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data/windows").rglob("0000-*")}
    assert len(before) == 2  # one shard and its index
    # s3 sorts last, so that the addresses in the latents of the others stay.
    write_corpus(tmp_path / "data", {**sessions, "s3": ("train", 16, talkers())})
    counts = pack_all(tmp_path / "data", params)
    assert counts["done"] == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sessions_by_shard(tmp_path / "data") == [{"s0", "s1", "s2"}, {"s3"}]


def sessions_by_shard(data: Path, split: str = "train") -> list[set[str]]:
    """The sessions of each shard, sorted by them."""
    shards: dict[str, set[str]] = {}
    for row in read_rows(data, "windows"):
        if row["split"] == split:
            shards.setdefault(row["shard"], set()).add(row["session_id"])
    assert sorted(shards) == [f"windows/{shard['path']}" for shard in read_manifest(data / "windows").shards]
    return sorted(shards.values(), key=min)


def test_a_language_models_tokenizer_is_shifted_past_our_ids(tmp_path, in_process):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    foreign = Tokenizer(models.BPE())
    foreign.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    foreign.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    foreign.train_from_iterator([" red blue"] * 4, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    folder = tmp_path / "language-model"
    folder.mkdir()
    foreign.save(str(folder / "tokenizer.json"))
    write_corpus(tmp_path / "data", {"s0": ("train", 8, talkers())})
    pack_all(tmp_path / "data", PackParams(window_units=8, stride_units=4, tokenizer=str(folder)))
    tokenizer = load_tokenizer(tmp_path / "data/models/tokenizer.json")
    assert tokenizer.offset == 3
    assert read_manifest(tmp_path / "data/windows").vocab_size == foreign.get_vocab_size() + 3
    sample = samples(tmp_path / "data")["s0-a-000000"]
    assert tokenizer.decode(sample["agent_text"].ravel()) == "red blue"


def test_wrong_tokenizer_and_wrong_numbers_are_one_line(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"s0": ("train", 8, talkers())})
    for values, message in (
        ({"tokenizer": str(tmp_path / "none.json")}, "no such tokenizer"),
        ({"window_units": 8, "stride_units": 9}, r"pack.stride_units: 9; expected 1 to window_units \(8\)"),
        ({"vocab_size": 10}, "pack.vocab_size: 10; expected 259 or more"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            pack_all(tmp_path / "data", build_params(PackParams, values, "pack"))
        assert "\n" not in str(caught.value)


def test_manifest_says_what_the_shards_hold(tmp_path, in_process):
    write_corpus(tmp_path / "data", {"s0": ("train", 16, talkers()), "s1": ("test", 8, talkers())})
    pack_all(tmp_path / "data")
    folder = tmp_path / "data/windows"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["fields"]["agent_audio"] == {"dtype": "float16", "shape": [8, *AUDIO_SHAPE]}
    assert manifest["fields"]["labels"] == {"dtype": "int32", "shape": [8, 4]}
    for shard in manifest["shards"]:
        content = (folder / shard["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard["sha256"] and len(content) == shard["num_bytes"]
    assert {shard["split"]: shard["num_windows"] for shard in manifest["shards"]} == {"train": 6, "test": 2}
    assert manifest["hours"] == {"test": round(2 * 8 * 0.16 / 3600, 4), "train": round(6 * 8 * 0.16 / 3600, 4)}
