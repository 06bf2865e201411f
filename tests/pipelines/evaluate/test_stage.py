"""evaluate: what counts, what a baseline is, when an interval says "better"; the whole stage on tiny random models."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.engine import tables
from pipelines.engine.files import file_sha256
from pipelines.engine.params import build_params
from pipelines.engine.run import RunParams
from pipelines.evaluate import rendering
from pipelines.evaluate import stage as evaluate
from pipelines.evaluate.stage import EvaluateParams
from pipelines.formats.tokenizer import BLANK_ID, MISSING_ID
from pipelines.media.tracks import read_frames, write_video, write_wav
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from tests.helpers.duplex_fixtures import random_model, save_small_model
from tests.helpers.packed_windows import change_manifest
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer import vae
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import load_model
from wanstreamer.streaming.agent import load_agent, to_video
from wanstreamer.windows.loader import load_batch, open_windows, read_manifest

UNITS = 20
PARAMS = EvaluateParams(taus=(0.5, 1.0), warmup_units=2, batch_size=3, resamples=200, given_units=6, free_units=6)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_other_users_come_from_another_session_and_are_strangers_where_possible(sizes):
    rows = [
        {"session_id": f"s{s}", "agent_speaker_id": f"p{(s + view) % 3}", "user_speaker_id": f"p{(s + 1 - view) % 3}"}
        for s, size in enumerate(sizes)
        for view in (0, 1)
        for _ in range(size)
    ]
    derangements = evaluate.other_users(rows, 3)
    assert len(derangements) == min(3, len(sizes) - 1)
    for partners in derangements:
        for row, other in zip(rows, partners, strict=True):
            assert rows[other]["session_id"] != row["session_id"]
            present = {row["agent_speaker_id"], row["user_speaker_id"]}
            candidates = [candidate for candidate in rows if candidate["session_id"] == rows[other]["session_id"]]
            if any(candidate["user_speaker_id"] not in present for candidate in candidates):
                assert rows[other]["user_speaker_id"] not in present
    for place in range(len(rows)):  # never one session twice
        assert len({rows[partners[place]]["session_id"] for partners in derangements}) == len(derangements)
    assert derangements == evaluate.other_users(rows, 3) and derangements[:1] == evaluate.other_users(rows, 1)
    assert evaluate.other_users(rows[: sizes[0]], 3) == []


def test_no_unit_counts_twice(folder):
    rows = [
        {"session_id": "s", "agent": agent, "start_unit": start, "num_units": 10}
        for agent in "ab"
        for start in (0, 5, 10, 15, 19, 20)
    ]
    left = [rows[place] for place in evaluate.apart(rows)]
    assert [(row["agent"], row["start_unit"]) for row in left] == [
        (who, start) for who in "ab" for start in (0, 10, 20)
    ]
    windows = open_windows(folder / "windows", "test")
    seen: dict[tuple[str, str], set[int]] = {}
    for row in evaluate.without_overlaps(windows).rows:
        units = set(range(row["start_unit"], row["start_unit"] + row["num_units"]))
        view = seen.setdefault((row["session_id"], row["agent"]), set())
        assert not units & view
        view |= units
    assert {*seen} == {(row["session_id"], row["agent"]) for row in windows.rows}


def test_units_count_when_known_with_their_predecessor_after_the_warm_up():
    known = torch.tensor([[True, True, True, False, True, True]])
    assert evaluate._counted(known, 2).tolist() == [[False, False, True, False, False, True]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three held-out and one train session with real little tracks, their latents, windows, and random models."""
    data = tmp_path_factory.mktemp("evaluate") / "data"
    torch.manual_seed(0)
    vaes = {"audio": vae.AudioVAE(vae.AudioVAEConfig()).eval(), "video": vae.VideoVAE(vae.VideoVAEConfig()).eval()}
    paths = {kind: data / "models" / "vae" / f"{kind}.safetensors" for kind in vaes}
    for kind, model in vaes.items():
        vae.save(model, paths[kind])
    # Train people refused to be shown, so that a rendered session is a held-out one in any case.
    people = {f"s{i}": ("train" if i == 3 else "test", UNITS, _dyad(i)) for i in range(4)}
    rng = np.random.default_rng(0)
    latents = {}
    for key, (_, _, dyad) in people.items():
        for who in dyad:
            frames = rng.integers(0, 255, (4 * UNITS, 3, 4, 3), dtype=np.uint8).repeat(16, axis=1).repeat(16, axis=2)
            sound = (0.1 * rng.standard_normal(2560 * UNITS)).astype(np.float32)
            video_path, audio_path = (data / track_path(key, who, suffix) for suffix in ("mp4", "wav"))
            video_path.parent.mkdir(parents=True, exist_ok=True)
            write_video(video_path, frames)
            write_wav(audio_path, sound, 16000)
            with torch.inference_mode():
                audio, _ = vaes["audio"].encode(torch.from_numpy(sound)[None])
                video, _ = vaes["video"].encode(to_video(read_frames(video_path)))
            latents[key, who] = (
                audio[0].unflatten(0, (UNITS, -1)).numpy().astype(np.float16),
                video[0].numpy().astype(np.float16),
            )
    write_corpus(data, people, latents, vae_hashes=(file_sha256(paths["audio"]), file_sha256(paths["video"])))

    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        pack.run(data, PackParams(window_units=10, stride_units=10), RunParams(workers=1))
    save_small_model(data)
    return data


def _dyad(number: int) -> dict[str, Person]:
    words = [("red", 160 * unit + 10, 160 * unit + 150) for unit in range(3, UNITS, 2)]
    shown = ["train", "show"] if number else ["train"]  # s0 must not be rendered
    return {
        "a": Person(words=words, speech_units=set(range(3, UNITS, 2)), consent=shown),
        "b": Person(words=words[:2], consent=["train", "show"]),
    }


def tally(folder: Path, params: EvaluateParams = PARAMS) -> dict:
    """Figures of the held-out windows, with whatever stands in for the model."""
    model = load_model(folder / "models/duplex/model.safetensors")
    windows = open_windows(folder / "windows", "test")
    vaes = (
        vae.load_audio_vae(folder / "models/vae/audio.safetensors"),
        vae.load_video_vae(folder / "models/vae/video.safetensors"),
    )
    unigram = evaluate._fit_text(folder, params, model.config.vocab_size)
    sums, _ = evaluate.tally_windows(folder, model, windows, *vaes, unigram, params)
    return evaluate.summarize(sums, [row["session_id"] for row in windows.rows], params)


def test_a_model_that_knows_beats_all_and_one_that_copies_does_not(folder, monkeypatch):
    def perfect(model, batch, tau, generator):
        # Hears the user: with another's stream the guess is off by what it hears.
        wrong = (batch.user_video_BKCHW - user_of[tuple(batch.window_id)]).abs().mean()
        return batch.agent_audio_BKNC + wrong, batch.agent_video_BKCHW + wrong

    windows = open_windows(folder / "windows", "test")
    user_of = {}
    for start in range(0, len(windows), PARAMS.batch_size):
        batch = load_batch(windows, range(start, min(start + PARAMS.batch_size, len(windows))))
        user_of[tuple(batch.window_id)] = batch.user_video_BKCHW
    monkeypatch.setattr(evaluate, "denoise_at", perfect)
    figures = tally(folder)
    for stream in ("audio", "video"):
        for figure in figures[stream].values():
            assert figure["model"] == 0
            assert all(figure[name]["beats"] for name in evaluate.ERROR_BASELINES)

    def copies(model, batch, tau, generator):
        return batch.agent_audio_BKNC.roll(1, dims=1), batch.agent_video_BKCHW.roll(1, dims=1)

    monkeypatch.setattr(evaluate, "denoise_at", copies)
    figure = tally(folder)["video"]["tau_1"]
    assert figure["model"] == figure["copy_previous"]["value"]
    assert not figure["copy_previous"]["beats"] and not figure["other_user"]["beats"]


def test_a_speaker_who_knows_the_words_beats_the_text_baselines(folder, monkeypatch):
    def knows(model, batch):
        target = torch.nn.functional.one_hot(batch.agent_text_BKS, model.config.vocab_size).float()
        heard = (batch.user_video_BKCHW.mean() - first_user).abs() > 1e-6
        return target * (1 if heard else 20)

    windows = open_windows(folder / "windows", "test")
    params = replace(PARAMS, batch_size=len(windows))
    first_user = load_batch(windows, range(len(windows))).user_video_BKCHW.mean()
    monkeypatch.setattr(evaluate, "text_logits", knows)
    text_figures = tally(folder, params)["text"]
    assert text_figures["f1"]["model"] == 1 and text_figures["cross_entropy"]["model"] < 1e-3
    assert text_figures["f1"]["silence_still"]["value"] == 0
    for figure, baselines in evaluate.TEXT_BASELINES.items():
        # The derangement swaps users among the same windows: their mean is the same, so only this one cannot show.
        assert all(text_figures[figure][name]["beats"] for name in baselines if name != "other_user")


def test_a_corpus_without_pictures_has_no_figures_of_them(folder):
    windows = open_windows(folder / "windows", "test")
    model = load_model(folder / "models/duplex/model.safetensors")
    deaf = replace(windows, manifest=replace(windows.manifest, video_codec=None))
    model.config = replace(model.config, video_codec="")
    evaluate._check_vaes(deaf, {"video_codec": folder / "none"}, model)
    audio_vae = vae.load_audio_vae(folder / "models/vae/audio.safetensors")
    unigram = evaluate._fit_text(folder, PARAMS, model.config.vocab_size)

    def blind(windows, indices):
        batch = load_batch(windows, indices)
        return replace(batch, agent_video_known_BK=torch.zeros_like(batch.agent_video_known_BK))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "load_batch", blind)
        sums, _ = evaluate.tally_windows(folder, model, deaf, audio_vae, None, unigram, PARAMS)
    figures = evaluate.summarize(sums, [row["session_id"] for row in windows.rows], PARAMS)
    assert figures["video"]["tau_1"]["model"] is None and figures["audio"]["tau_1"]["model"] > 0
    assert figures["comparisons"]["made"] == 2 * 3 + 9
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("party", ["user", "agent"])
def test_words_are_withheld(folder, party):
    batch = evaluate.without_text(load_batch(open_windows(folder / "windows", "test"), [0, 1]), party)
    assert not getattr(batch, f"{party}_text_known_BK").any()
    assert (getattr(batch, f"{party}_text_BKS") == MISSING_ID).all()


def test_audio_and_video_are_judged_without_the_agents_words(folder):
    windows = evaluate.without_overlaps(open_windows(folder / "windows", "test"))
    model = random_model(load_model(folder / "models/duplex/model.safetensors").config)
    audio_vae = vae.load_audio_vae(folder / "models/vae/audio.safetensors")
    video_vae = vae.load_video_vae(folder / "models/vae/video.safetensors")
    unigram = evaluate._fit_text(folder, PARAMS, model.config.vocab_size)

    def other_words(windows, indices):
        batch = load_batch(windows, indices)
        return replace(batch, agent_text_BKS=torch.where(batch.agent_text_BKS == BLANK_ID, 5, BLANK_ID))

    sums, _ = evaluate.tally_windows(folder, model, windows, audio_vae, video_vae, unigram, PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "load_batch", other_words)
        changed, _ = evaluate.tally_windows(folder, model, windows, audio_vae, video_vae, unigram, PARAMS)
    for stream in ("audio", "video"):
        for who in ("model", "other_user", "with_words"):
            key = f"{stream}/tau_1/{who}"
            same = all(np.array_equal(one[0], two[0]) for one, two in zip(sums[key], changed[key], strict=True))
            assert same == (who != "with_words"), key


def test_silence_and_still_are_what_the_vaes_make_of_them(folder):
    audio_vae = vae.load_audio_vae(folder / "models/vae/audio.safetensors")
    silence = evaluate.silence_latent(audio_vae)
    longer, _ = audio_vae.encode(torch.zeros(1, 2560 * 20))
    torch.testing.assert_close(silence, longer[0, -4:], atol=1e-4, rtol=0)
    video_vae = vae.load_video_vae(folder / "models/vae/video.safetensors")
    windows = open_windows(folder / "windows", "test")
    batch = load_batch(windows, [1, 0])
    still = evaluate.still_latents(folder, [track_path("s0", "a", "mp4"), None], [10, 0], video_vae, batch)
    frame = read_frames(folder / track_path("s0", "a", "mp4"))[40:41].repeat(4 * 10, axis=0)
    torch.testing.assert_close(still[0], video_vae.encode(to_video(frame))[0][0])
    assert not still[1].any()
    batch.agent_video_known_BK[0, :3] = False  # off screen: those frames are grey
    still = evaluate.still_latents(folder, [track_path("s0", "a", "mp4"), None], [10, 0], video_vae, batch)
    frame = read_frames(folder / track_path("s0", "a", "mp4"))[52:53].repeat(4 * 10, axis=0)
    torch.testing.assert_close(still[0], video_vae.encode(to_video(frame))[0][0])


def test_the_stage_gives_the_same_figures_twice_and_reports_that_play(folder):
    first = evaluate.run(folder, PARAMS, RunParams(workers=2))
    curves = [folder.parent / "plots" / f"evaluate_{stream}.csv" for stream in ("audio", "video")]
    written = [curve.read_text() for curve in curves]
    again = evaluate.run(folder, PARAMS, RunParams(workers=1))
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)
    assert [curve.read_text() for curve in curves] == written
    assert first["sessions"] == 3 and first["windows"] == 12
    assert set(first["turn_ends"]) == {"ends", "pauses", "unit_0", "unit_1", "unit_2"}
    assert first["comparisons"]["made"] == 2 * 2 * 3 + 3 + 2 + 4
    for lines in map(str.splitlines, written):
        assert lines[0] == "tau,model,copy_previous,silence_still,other_user"
        assert [line.split(",")[0] for line in lines[1:]] == ["0.5", "1.0"]
    # s0 holds somebody who did not agree to be shown.
    assert first["reports"]["session"] == "s1" and first["reports"]["free_units"] == 6
    reports = folder / "reports"
    assert sorted(path.name for path in reports.iterdir()) == [
        "continuation.mp4",
        "continuation.png",
        "reconstruction.mp4",
    ]
    assert len(read_frames(reports / "continuation.mp4")) == 12 * 4
    assert len(read_frames(reports / "reconstruction.mp4")) == 2 * 12 * 4
    assert Image.open(reports / "continuation.png").size[0] == rendering.SHEET_COLUMNS * 64 * 2


def test_given_history_is_the_truth_and_leaves_the_session_where_it_should(folder):
    """With history given throughout, the rendered agent is the decoded truth, and free units follow the same state."""
    agent = load_agent(folder)
    tracks = {row["participant"]: row for row in tables.read_rows(folder, "tracks") if row["session_id"] == "s1"}
    truth, heard = (rendering.read_clip(folder, tracks[who], 8, 2560) for who in "ab")
    text = rendering.session_text(open_windows(folder / "windows", "test"), "s1", "a", 8)
    assert (text != BLANK_ID).any() and (text != MISSING_ID).all()
    history_only, text_ids = rendering.continue_conversation(agent, truth, heard, text, 8, seed=0)
    expected = rendering.reconstruct(agent, truth)
    assert text_ids == []
    np.testing.assert_allclose(history_only.samples, expected.samples, atol=1e-4)
    assert np.abs(history_only.frames.astype(int) - expected.frames.astype(int)).max() <= 1
    free, text_ids = rendering.continue_conversation(agent, truth, heard, text, 5, seed=0)
    np.testing.assert_array_equal(free.samples[: 5 * 2560], history_only.samples[: 5 * 2560])
    assert len(text_ids) == 3 * 2 and not np.array_equal(free.samples[5 * 2560 :], history_only.samples[5 * 2560 :])


def test_no_one_is_shown_without_consent(folder):
    rows = open_windows(folder / "windows", "test").rows
    tracks = tables.read_rows(folder, "tracks")
    assert rendering.choose_session(rows, [{**row, "consent": None} for row in tracks]) is None
    assert rendering.choose_session(rows, [{**row, "consent": ["train"]} for row in tracks]) is None


def test_no_held_out_session_is_said_and_not_an_error(folder, tmp_path):
    data = tmp_path / "data"
    (data / "windows").mkdir(parents=True)
    shutil.copy(folder / "windows/manifest.json", data / "windows")
    of_train = [shard for shard in read_manifest(data / "windows").shards if shard["split"] == "train"]
    change_manifest(data / "windows", shards=of_train)
    assert evaluate.run(data, PARAMS, RunParams(workers=1))["sessions"] == 0
    assert (tmp_path / "plots/evaluate_audio.csv").is_file() and (tmp_path / "plots/evaluate_video.csv").is_file()


@pytest.mark.parametrize(
    ("changes", "message"), [({"taus": (0.0, 1.0)}, "evaluate.taus"), ({"warmup_units": 0}, "evaluate.warmup_units: 0")]
)
def test_wrong_numbers_are_one_line(changes, message):
    with pytest.raises(InputError, match=message):
        build_params(EvaluateParams, changes, "evaluate")


def test_a_model_of_other_vaes_is_refused(folder, tmp_path):
    model = load_model(folder / "models/duplex/model.safetensors")
    model.config = replace(model.config, audio_codec="f" * 64)
    windows = open_windows(folder / "windows", "test")
    with pytest.raises(InputError, match="audio_codec .* trained with ffffffffffff; run the duplex stage again"):
        evaluate._check_vaes(windows, {}, model)


@settings(deadline=None, max_examples=5)
@given(st.integers(1, 7))
def test_mixing_never_clips(count):
    sounds = [np.full(10, 0.4, dtype=np.float32)] * count
    assert np.abs(rendering._mix(sounds)).max() <= 1
