"""The sample: what its truth says is really there, it is the same every time, and it is varied where it should be."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.conversation import grammar
from pipelines.conversation.cast import Recording, plan, split_counts
from pipelines.conversation.dialogue import Dialogue, Utterance, other
from pipelines.conversation.face import draw_frames
from pipelines.conversation.look import make_look
from pipelines.conversation.loudness import with_loudness
from pipelines.conversation.motion import Motion, make_motion
from pipelines.conversation.phrases import samples_of_ms
from pipelines.conversation.record import rms
from pipelines.conversation.script import YIELD_MS, write_dialogue
from pipelines.conversation.voice import RATE_HZ, Voice, VoiceSpec
from pipelines.engine.jobs import Rejected
from pipelines.engine.run import RunParams
from pipelines.formats.splits import split_of
from pipelines.ingest.source_row import COLUMNS
from pipelines.ingest.sources import find_sources
from pipelines.media.probing import probe
from pipelines.sample import stage as corpus
from pipelines.sample.session import make_session
from pipelines.sample.stage import SampleParams, run
from tests.helpers.paths import ROOT
from wanstreamer.clock import merge_spans
from wanstreamer.errors import InputError

SMALL = SampleParams(sessions=2, seconds=10, width=128, height=96)
VOICES = {
    "a": VoiceSpec(name="en-us+f2", rate_wpm=165, pitch=55, range=50),
    "b": VoiceSpec(name="en-us+m3", rate_wpm=180, pitch=40, range=50),
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("sample") / "data"
    run(data, SMALL, RunParams(workers=2))
    return data


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    made = []
    for index in range(10):
        with Voice(seed=index) as voice:
            rng = np.random.default_rng([7, index])
            made.append(write_dialogue(voice, VOICES, rng, first_ms=500, duration_ms=45_000, seen="ab"))
    return made


def plan_of(num_sessions: int, seconds: int) -> list[Recording]:
    return plan(num_sessions, seed=0, seconds=seconds, salt="wanstreamer", valid_fraction=0.1, test_fraction=0.2)


def rows(data: Path, table: str, **where: str) -> list[dict[str, Any]]:
    found = pq.read_table(data / "truth" / f"{table}.parquet").to_pylist()
    return [row for row in found if all(row[key] == value for key, value in where.items())]


def decode(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = []
        resampler = av.AudioResampler("fltp", "mono")
        for frame in container.decode(stream):
            frames += [part.to_ndarray() for part in resampler.resample(frame)]
        return np.concatenate(frames, axis=1)[0], stream.rate


def digests(data: Path) -> dict[str, str]:
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


def test_sound_is_where_the_truth_says(sample: Path) -> None:
    for track in rows(sample, "tracks"):
        who = {"session_id": track["session_id"], "participant": track["participant"]}
        path = sample / "sources" / who["session_id"] / f"{who['participant']}.{track['container']}"
        sound, rate_hz = decode(path)
        assert rate_hz == track["rate_hz"]
        time_ms = np.arange(len(sound)) * 1000 / rate_hz + track["start_offset_ms"]
        inside, near = np.zeros(len(sound), bool), np.zeros(len(sound), bool)
        for span in rows(sample, "speech", **who):
            inside |= (time_ms >= span["start_ms"]) & (time_ms < span["end_ms"])
            near |= (time_ms >= span["start_ms"] - 50) & (time_ms < span["end_ms"] + 50)
        assert inside.any()
        measured_db = 10 * np.log10(np.mean(sound[inside] ** 2) / np.mean(sound[~near] ** 2))
        # Bleed adds to what is heard outside.
        floor_db = track["noise_db"] if track["bleed_db"] is None else min(track["noise_db"], -track["bleed_db"]) - 3
        assert floor_db - 3 <= measured_db <= track["noise_db"] + 3
        assert np.abs(sound).max() < 0.99


def test_speech_intervals_begin_and_end_with_sound(dialogues: list[Dialogue]) -> None:
    for participant in "ab":
        track = dialogues[0].samples(participant)
        silent = np.ones(len(track), bool)
        for span in dialogues[0].speech(participant):
            first, last = samples_of_ms(span.start_ms), samples_of_ms(span.end_ms)
            silent[first:last] = False
            loud = np.sqrt(np.mean(track[first:last] ** 2))
            for edge in (track[first : first + RATE_HZ // 50], track[last - RATE_HZ // 50 : last]):
                assert np.sqrt(np.mean(edge**2)) > 0.005 * loud
        assert np.mean(track[silent] ** 2) < 1e-3 * np.mean(track[~silent] ** 2)


def test_words_are_in_order_inside_their_turns(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        for utterance in dialogue.utterances:
            words = utterance.words
            assert words[0].start_ms >= utterance.start_ms and words[-1].end_ms <= utterance.end_ms
            for word, following in zip(words, words[1:], strict=False):
                assert word.start_ms < word.end_ms <= following.start_ms
            assert words[-1].text[-1] in ".?-"


def test_nobody_talks_over_themselves(dialogues: list[Dialogue]) -> None:
    for dialogue in dialogues:
        for participant in "ab":
            own = dialogue.of(participant)
            assert all(one.end_ms <= two.start_ms for one, two in zip(own, own[1:], strict=False))
            assert own[-1].end_ms < dialogue.duration_ms


def test_sidecars_are_on_the_clock_of_their_file(sample: Path) -> None:
    _, streams = find_sources(sample / "sources")
    for stream in streams:
        assert stream.words_uri
        told = json.loads((sample / "sources" / stream.words_uri).read_text())["words"]
        known = rows(sample, "words", session_id=stream.session_id, participant=stream.participant)
        assert [word["word"] for word in told] == [word["word"] for word in known]
        assert [w["start_ms"] + stream.start_offset_ms for w in told] == [w["start_ms"] for w in known]
        assert all(word["start_ms"] >= 0 for word in told)


def test_answers_are_true_and_a_fifth_of_short_utterances(dialogues: list[Dialogue]) -> None:
    facts = {word for thing in grammar.WORLD for word in (thing.colour, thing.number, thing.owner)}
    short = sum(len(u.words) <= 3 for dialogue in dialogues for u in dialogue.utterances)
    answers = [answer for dialogue in dialogues for answer in dialogue.answers]
    assert sum(answer.is_short for answer in answers) >= short / 5
    for answer in answers:
        asked = {word.rstrip("?s") for word in answer.question.split()}
        thing = next(t for t in grammar.WORLD if t.name in asked)
        said = set(answer.text.rstrip(".").split())
        if answer.fact in ("colour", "number", "owner"):
            assert said & facts <= {thing.colour, thing.number, thing.owner}
            assert getattr(thing, answer.fact) in said
        elif answer.fact == "yes_no":
            assert ("yes" in said) == (thing.colour in asked)


def test_interruptions_cut_a_word_and_yield_in_time(dialogues: list[Dialogue]) -> None:
    outcomes: Counter[str] = Counter()
    yields_ms: list[int] = []
    for dialogue in dialogues:
        for transition in (t for t in dialogue.transitions if t.label == "interruption"):
            assert transition.outcome and transition.yielder and transition.yield_ms
            outcomes[transition.outcome] += 1
            broken = next(
                u
                for u in dialogue.of(transition.yielder)
                if u.start_ms <= transition.start_ms + transition.yield_ms <= u.end_ms
            )
            assert YIELD_MS[0] <= transition.yield_ms <= YIELD_MS[1]
            yields_ms.append(transition.yield_ms)
            assert broken.end_ms == transition.start_ms + transition.yield_ms
            assert broken.is_broken
            track = dialogue.samples(transition.yielder)
            end = samples_of_ms(broken.end_ms)
            assert np.abs(track[end - RATE_HZ // 10 : end]).max() > 0.01
            assert np.abs(track[end + 1 : end + RATE_HZ // 10]).max() == 0
            # The other speaks on past the break.
            assert any(s.start_ms <= broken.end_ms < s.end_ms for s in dialogue.speech(other(transition.yielder)))
    assert min(outcomes["floor_taking"], outcomes["failed"]) >= 2
    assert 330 <= np.median(yields_ms) <= 500
    assert np.mean(np.array(yields_ms) <= 640) > 0.85  # four units


def test_who_does_not_insist_is_heard_to_from_the_start(dialogues: list[Dialogue]) -> None:
    """Their first word is none that claims the floor, and they are softer beside the others' voices."""
    insists = {text.split()[0] for text in grammar.CHALLENGES}
    louder_db = []
    for dialogue in dialogues:
        heard = with_loudness(dialogue, np.random.default_rng(0))
        for t in (t for t in dialogue.transitions if t.label == "interruption"):
            said = next(u for u in heard.of(t.participant) if u.start_ms == t.start_ms)
            assert (said.words[0].text.rstrip("-") in insists) == (t.outcome == "floor_taking")
            assert said.hesitant == (t.outcome == "failed")
        for utterance in heard.utterances:
            bare = next(u for u in dialogue.utterances if (u.participant, u.start_ms) == _begin(utterance))
            gain = rms(utterance.clips[0][1].samples) / rms(bare.clips[0][1].samples)
            louder_db.append((utterance.hesitant, 20 * np.log10(gain)))
    means = [np.mean([db for hesitant, db in louder_db if hesitant == which]) for which in (True, False)]
    assert means[1] - means[0] > 2


def _begin(utterance: Utterance) -> tuple[str, int]:
    return utterance.participant, utterance.start_ms


def test_the_end_of_a_turn_is_heard_coming(dialogues: list[Dialogue]) -> None:
    """Whole phrases that end a turn grow softer; those before a pause of the same turn do not."""
    falls_db: dict[str, list[float]] = {"last": [], "before": []}
    for dialogue in dialogues:
        for turn in (u for u in dialogue.utterances if u.role == "turn" and not u.is_broken):
            for place, (_, clip) in enumerate(turn.clips):
                if clip.duration_ms >= 1200:
                    third = len(clip.samples) // 3
                    fall_db = 20 * np.log10(rms(clip.samples[-third:]) / rms(clip.samples[:third]))
                    falls_db["last" if place == len(turn.clips) - 1 else "before"].append(fall_db)
    assert min(map(len, falls_db.values())) >= 10
    assert np.mean(falls_db["last"]) < np.mean(falls_db["before"]) - 4


def test_pauses_inside_a_turn_begin_with_a_filled_one(dialogues: list[Dialogue]) -> None:
    """Nearly all do, and nothing else ends so."""
    um = grammar.FILLED_PAUSE
    turns = [turn for dialogue in dialogues for turn in dialogue.utterances if turn.role == "turn"]
    before = [clip.words[-1].text == um for turn in turns for _, clip in turn.clips[:-1]]
    assert 0.8 < np.mean(before) < 1 and len(before) > 50
    assert not any(turn.words[-1].text == um for turn in turns)


def test_transitions_have_the_offsets_their_labels_demand(dialogues: list[Dialogue]) -> None:
    gaps: list[int] = []
    overlaps: list[int] = []
    for dialogue in dialogues:
        for t in dialogue.transitions:
            before = [s.end_ms for p in "ab" for s in dialogue.speech(p) if s.start_ms < t.start_ms]
            if t.label == "smooth_shift":
                assert t.fto_ms is not None
                gaps.append(t.fto_ms)
            elif t.label == "terminal_overlap":
                assert t.fto_ms is not None
                overlaps.append(-t.fto_ms)
            elif t.label == "initiation":
                assert t.start_ms - max(before) >= 3000
                assert t.fto_ms is None  # nobody had the floor
            elif t.label == "simultaneous_start" and t.holder != t.participant:
                assert t.fto_ms is None
            elif t.label == "hold":
                assert 1500 <= t.start_ms - max(before) < 3000
    assert min(gaps) >= 0 and min(overlaps) > 0 and max(overlaps) <= 1000
    assert 250 <= np.median(gaps) <= 520
    assert 270 <= np.median(overlaps) <= 560


def test_backchannels_leave_the_floor_where_it_is(dialogues: list[Dialogue]) -> None:
    in_pause = total = silent_after = 0
    for dialogue in dialogues:
        for participant in "ab":
            for said in dialogue.of(participant, "backchannel"):
                total += 1
                turns = dialogue.of(other(participant), "turn")
                assert any(turn.start_ms < said.start_ms and said.end_ms < turn.end_ms for turn in turns)
                theirs = dialogue.speech(other(participant))
                in_pause += not any(s.start_ms < said.end_ms and s.end_ms > said.start_ms for s in theirs)
                over = [s for s in merge_spans(theirs, 500) if s.start_ms <= said.start_ms < s.end_ms]
                silent_after += bool(over) and over[0].end_ms <= said.start_ms + 640
    assert total >= 12
    assert silent_after / (total - in_pause) < 0.25  # who goes on after "mhm" mostly does so without a pause
    assert 0.15 <= in_pause / total <= 0.55


def test_same_bytes_again_and_with_one_worker(sample: Path, tmp_path: Path) -> None:
    known = digests(sample)
    run(tmp_path / "data", SMALL, RunParams(workers=1))
    assert digests(tmp_path / "data") == known
    assert {name.split("/")[0] for name in known} == {"sources", "truth"}


def test_equal_requests_to_a_fresh_voice_give_equal_samples() -> None:
    def said(seed: int) -> list[bytes]:
        with Voice(seed=seed) as voice:
            return [voice.say(text, VOICES["a"])[0].tobytes() for text in ("is the boat red?", "yes.")]

    assert said(1) == said(1)
    assert said(1) != said(2)  # this voice draws random numbers: equality is not for free


def test_a_run_that_fails_leaves_the_old_sample(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = digests(sample)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(corpus, "_record", fail)
    with pytest.raises(OSError, match="disk full"):
        run(sample, replace(SMALL, seed=1), RunParams(workers=1))
    assert {name: digest for name, digest in digests(sample).items() if not name.startswith(".")} == known


def test_manifest_is_what_ingest_reads(sample: Path) -> None:
    head = (sample / "sources" / "manifest.csv").read_text().splitlines()[0].split(",")
    assert set(head) <= set(COLUMNS)
    root, streams = find_sources(sample / "sources")
    assert [(s.session_id, s.participant) for s in streams] == [(f"talk-000{i}", p) for i in (0, 1) for p in "ab"]
    for stream in streams:
        assert stream.consent == ("train", "share", "show") and stream.licence and stream.language == "en"
        assert probe(root / stream.uri).has_audio
    assert len({Path(stream.uri).suffix for stream in streams}) >= 2
    assert len({track["frame_rate"] for track in rows(sample, "tracks")}) >= 2


def test_frames_last_as_long_as_the_sound(sample: Path) -> None:
    for track in rows(sample, "tracks"):
        path = sample / "sources" / track["session_id"] / f"{track['participant']}.{track['container']}"
        sound, rate_hz = decode(path)
        with av.open(str(path)) as container:
            num_frames = sum(1 for _ in container.decode(video=0))
        assert abs(num_frames / Fraction(track["frame_rate"]) - len(sound) / rate_hz) < 0.1


def test_people_meet_in_their_group_and_split() -> None:
    recordings = plan_of(24, 45)
    good = [recording for recording in recordings if not recording.is_truncated]
    assert Counter(recording.split for recording in good) == {"train": 16, "valid": 2, "test": 6}
    people = {}
    for recording in recordings:
        for stream in recording.streams:
            assert (
                split_of(stream.speaker.speaker_id, SMALL.split_salt, SMALL.valid_fraction, SMALL.test_fraction)
                == recording.split
            )
            people[stream.speaker.speaker_id] = stream.speaker
    assert len(people) >= 12
    assert len({speaker.voice.name for speaker in people.values()}) == len(people)


def test_recordings_vary_and_train_has_plain_ones() -> None:
    recordings = plan_of(24, 45)
    streams = [stream for recording in recordings for stream in recording.streams]
    assert {"mp4", "mkv", "mov"} <= {stream.container for stream in streams}
    assert {"24", "25", "30000/1001", "30"} <= {stream.frame_rate for stream in streams}
    assert {stream.rate_hz for stream in streams} == {44100, 48000}
    assert all(10 <= stream.noise_db <= 40 for stream in streams)
    bleeds = [stream.bleed_db for stream in streams if stream.bleed_db is not None]
    assert bleeds and all(-40 <= bleed_db <= -25 for bleed_db in bleeds)
    assert len({stream.start_offset_ms for stream in streams}) > 20
    train = Counter(recording.layout for recording in recordings if recording.split == "train")
    assert train == {"per_participant": 10, "split_screen": 1, "audio_only": 6}  # one of the 10 is truncated
    assert [recording.is_truncated for recording in recordings] == [False] * 24 + [True]


def test_split_counts_stay_sensible() -> None:
    for number in range(2, 200):
        counts = split_counts(number)
        assert sum(counts.values()) == number
        assert counts["test"] >= 1 and counts["train"] >= number / 2 - 0.5


def test_special_layouts_are_recorded(tmp_path: Path) -> None:
    recordings = {r.layout if not r.is_truncated else "truncated": r for r in plan_of(24, 8)}
    size: dict[str, int] = {"seed": 0, "width": 64, "height": 48}
    streams, _, _ = make_session(recordings["split_screen"], tmp_path, **size)
    assert [row["crop"] for row in streams] == ["0:0:64:48", "64:0:64:48"]
    assert [row["channel"] for row in streams] == [0, 1]
    assert streams[0]["uri"] == streams[1]["uri"]
    found = probe(tmp_path / streams[0]["uri"])
    assert (found.width, found.height, found.channels) == (128, 48, 2)
    streams, _, _ = make_session(recordings["audio_only"], tmp_path, **size)
    assert all(not probe(tmp_path / row["uri"]).has_video for row in streams)
    streams, truth, _ = make_session(recordings["truncated"], tmp_path, **size)
    assert not truth.get("turns")
    with pytest.raises(Rejected):
        probe(tmp_path / streams[0]["uri"])
    assert probe(tmp_path / streams[1]["uri"]).has_video
    # espeak-ng is GPL: it must never be loaded into this process.
    assert "espeakng_loader" not in sys.modules
    maps = Path("/proc/self/maps")
    assert not maps.is_file() or "espeak" not in maps.read_text()


def test_faces_speak_and_listen(dialogues: list[Dialogue]) -> None:
    dialogue = dialogues[0]
    voices = {participant: dialogue.samples(participant) for participant in "ab"}
    frame_ms = np.arange(45 * 25) * 40.0
    for participant in "ab":
        motion = make_motion(dialogue, participant, voices, frame_ms, np.random.default_rng(0))
        speaking = np.array([any(s.start_ms <= t < s.end_ms for s in dialogue.speech(participant)) for t in frame_ms])
        assert motion.mouth_open[speaking].mean() > 0.35
        assert motion.mouth_open[~speaking].mean() < 0.05
        listening = np.array(
            [any(s.start_ms <= t < s.end_ms for s in dialogue.speech(other(participant))) for t in frame_ms]
        )
        assert motion.pitch[listening & ~speaking].mean() > motion.pitch[~listening & ~speaking].mean()
        for said in dialogue.of(participant, "backchannel"):
            nod = motion.pitch[(frame_ms > said.start_ms - 150) & (frame_ms < said.start_ms + 500)]
            assert nod.max() - nod.min() > 0.08
        assert (motion.lid > 0.8).any()


def still_face(**moving: list[float]) -> Motion:
    still = {name: np.zeros(2, dtype=np.float32) for name in Motion.__dataclass_fields__}
    values = {name: np.array(some, dtype=np.float32) for name, some in moving.items()}
    return Motion(**still | {"held": (None, None)} | values)  # type: ignore[arg-type]


def test_a_thing_held_up_is_spoken_about_unasked(dialogues: list[Dialogue]) -> None:
    showings = [(dialogue, showing) for dialogue in dialogues for showing in dialogue.showings]
    assert len(showings) >= 4
    for dialogue, showing in showings:
        spoken = [span for who in "ab" for span in dialogue.speech(who)]
        assert not any(s.start_ms < showing.comment_start_ms and s.end_ms > showing.start_ms for s in spoken)
        assert 600 <= showing.comment_start_ms - showing.start_ms <= 1600
        comment = next(u for u in dialogue.utterances if u.start_ms == showing.comment_start_ms)
        assert comment.participant == other(showing.participant) and comment.end_ms < showing.end_ms
        assert showing.thing in comment.text and comment.about == showing.thing
        silent_since_ms = max(s.end_ms for s in spoken if s.start_ms < showing.start_ms)
        assert showing.comment_start_ms - silent_since_ms >= 3000  # an initiation to the turn rules
        assert [t.label for t in dialogue.transitions if t.start_ms == comment.start_ms] == ["initiation"]


def test_a_thing_can_be_seen_while_it_is_up_and_told_by_its_colour(dialogues: list[Dialogue]) -> None:
    dialogue = next(dialogue for dialogue in dialogues if dialogue.showings)
    showing = dialogue.showings[0]
    voices = {participant: dialogue.samples(participant) for participant in "ab"}
    times_ms = np.array([showing.start_ms - 40, showing.comment_start_ms, showing.end_ms + 40])
    motion = make_motion(dialogue, showing.participant, voices, times_ms, np.random.default_rng(0))
    assert motion.held_up.tolist() == [0, 1, 0] and motion.held[1] == (showing.thing, showing.colour)
    partner = make_motion(dialogue, other(showing.participant), voices, times_ms, np.random.default_rng(0))
    assert partner.held == (None, None, None)
    look = make_look(1, [0, 1], may_have_beard=False)
    seen = {}
    for thing in grammar.WORLD:
        held = Motion(**vars(still_face(held_up=[0.0, 1.0])) | {"held": (None, (thing.name, thing.colour))})
        without, shown = (
            frame.reshape(48, 5, 64, 5, 3).mean(axis=(1, 3)) for frame in draw_frames(look, held, 320, 240)
        )
        changed = np.abs(without - shown).max(axis=-1) > 20
        assert changed.sum() >= 80  # of 3072
        seen[thing.name] = shown[changed]
    blue, green, red = seen["boat"].mean(axis=0) - seen["hat"].mean(axis=0)
    assert red > 30 and green < -10


def test_who_has_no_camera_holds_nothing_up() -> None:
    for seen in ("", "a"):
        showings = []
        for index in range(6):
            with Voice(seed=index) as voice:
                rng = np.random.default_rng([9, index])
                dialogue = write_dialogue(voice, VOICES, rng, first_ms=500, duration_ms=45_000, seen=seen)
                showings += dialogue.showings
        assert {showing.participant for showing in showings} == set(seen)


def test_an_open_mouth_can_be_seen_at_64_by_48() -> None:
    motion = still_face(mouth_open=[0.0, 1.0])
    for seed in range(6):
        look = make_look(seed, [0, seed], may_have_beard=seed % 2 == 1)
        shut, opened = (
            frame.reshape(48, 5, 64, 5, 3).mean(axis=(1, 3)) for frame in draw_frames(look, motion, 320, 240)
        )
        changed = np.abs(shut - opened).max(axis=-1)[: round(48 * (look.centre_y + 0.85 * look.scale))] > 25
        assert changed.any(axis=0).sum() >= 6
        assert changed.any(axis=1).sum() >= 4


def test_the_user_is_told_what_is_wrong(tmp_path: Path) -> None:
    for wrong in ({"sessions": 0}, {"seconds": 2}, {"width": 33}, {"test_fraction": 1.0}, {"seed": -1}):
        with pytest.raises(InputError, match="expected"):
            SampleParams(**wrong)
    (tmp_path / "params.yaml").write_text("sample: {}\n")
    command = [
        sys.executable,
        "-m",
        "pipelines.sample",
        "--data",
        str(tmp_path / "data"),
        "--params",
        str(tmp_path / "params.yaml"),
    ]
    done = subprocess.run([*command, "--sessions", "none"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "sample.sessions" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
