"""Invariant 10 through the whole line: a voice that is heard again in the other's track reaches no window."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.annotate import stage as annotate
from pipelines.annotate.stage import AnnotateParams
from pipelines.encode import stage as encode
from pipelines.encode.stage import EncodeParams
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams
from pipelines.media.tracks import write_wav
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from pipelines.signals.voice_activity import RATE_HZ
from tests.helpers.small_corpus import keep_in_process
from tests.helpers.small_vaes import small_vae
from tests.helpers.spoken_session import NUM_UNITS, Placed, words_of
from wanstreamer import vae
from wanstreamer.clock import units_touched
from wanstreamer.windows.loader import LABELS, load_sample, open_windows

Sample = dict[str, np.ndarray]


def windows_of(folder: Path, audio: dict[str, np.ndarray], placed: Placed, params: PackParams) -> dict[str, Sample]:
    """The one window of each role view of a session, by its agent."""
    source, data = folder / "source" / "talk", folder / "data"
    source.mkdir(parents=True)
    for who, audio_T in audio.items():
        write_wav(source / f"{who}.wav", audio_T, RATE_HZ)
        (source / f"{who}.words.json").write_text(json.dumps({"words": words_of(placed, who)}))
    ingest.run(
        data, IngestParams(source=str(source.parent), test_fraction=0.0, valid_fraction=0.0), RunParams(workers=1)
    )
    annotate.run(data, AnnotateParams(), RunParams(workers=1))
    vae.save(small_vae("audio"), data / "models" / "vae" / "audio.safetensors")
    encode.run(data, EncodeParams(), RunParams(workers=1))
    pack.run(data, params, RunParams(workers=1))
    windows = open_windows(data / "windows", "train")
    return {row["agent"]: load_sample(windows, place) for place, row in enumerate(windows.rows)}


def bleeding(spoken: tuple[dict[str, np.ndarray], Placed]) -> dict[str, np.ndarray]:
    """a is heard in b's microphone at -20 dB."""
    return spoken[0] | {"b": spoken[0]["b"] + 0.1 * spoken[0]["a"]}


def change(one: Sample, two: Sample, name: str, units: np.ndarray) -> float:
    return float(np.abs(one[name][units].astype(float) - two[name][units]).max())


@pytest.fixture(scope="module")
def versions(
    tmp_path_factory: pytest.TempPathFactory, spoken: tuple[dict[str, np.ndarray], Placed]
) -> dict[str, dict[str, Sample]]:
    """Windows by agent: of the session, of a copy that bleeds, and of that copy as it would be heard unmasked."""
    folder = tmp_path_factory.mktemp("own_voice")
    params = PackParams(window_units=NUM_UNITS, stride_units=NUM_UNITS)
    with pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        made = {
            "clean": windows_of(folder / "clean", spoken[0], spoken[1], params),
            "copy": windows_of(folder / "copy", bleeding(spoken), spoken[1], params),
            "heard": windows_of(folder / "heard", bleeding(spoken), spoken[1], replace(params, max_bleed_db=0.0)),
        }
    units = read_rows(folder / "copy" / "data", "units")
    levels = {who: {row["bleed_db"] for row in units if row["participant"] == who} for who in "ab"}
    assert levels["a"] == {None} and all(-22 < level < -18 for level in levels["b"])
    return made


@pytest.mark.parametrize(("agent", "bled"), [("a", "user_audio"), ("b", "agent_audio")])
def test_a_copy_that_bleeds_at_20_db_changes_nothing_of_what_the_agent_learns_from(
    agent: str, bled: str, versions: dict[str, dict[str, Sample]], spoken: tuple[dict[str, np.ndarray], Placed]
) -> None:
    """a as agent must not hear itself in the user's track; b as agent must not learn to say what the user says."""
    clean, copy, heard = (versions[name][agent] for name in ("clean", "copy", "heard"))
    for name in clean:
        if name not in (bled, f"{bled}_known", "labels"):
            assert np.array_equal(clean[name], copy[name]), name
    known = copy[f"{bled}_known"]
    spoken_units = {unit for span, _ in spoken[1]["a"] for unit in units_touched(span)}
    assert not known[sorted(spoken_units)].any() and known.sum() > NUM_UNITS // 4
    assert not copy[bled][~known].any()
    assert heard[f"{bled}_known"].all() and change(heard, clean, bled, ~known) > 0.5  # what would be heard else
    assert change(copy, clean, bled, known) < 0.1 * change(heard, clean, bled, ~known)

    # In the overlap alone b's edges may move by two frames of the detector; no loss sees them.
    whose = LABELS.index("user_speech_ms" if agent == "a" else "agent_speech_ms")
    moved_ms = copy["labels"][:, whose] - clean["labels"][:, whose]
    assert np.abs(moved_ms).max() <= 64 and not moved_ms[known].any() and clean["labels"][:, whose].any()
    assert np.array_equal(np.delete(copy["labels"], whose, 1), np.delete(clean["labels"], whose, 1))
