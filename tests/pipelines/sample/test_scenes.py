"""Scenes as files: one each, with the speech where the truth has it, and the same bytes every time."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.engine.run import RunParams
from pipelines.media.probing import probe
from pipelines.sample.scenes import make_scene
from pipelines.sample.stage import SampleParams, run
from pipelines.sample.truth import Rows
from pipelines.sources.find import find_sources
from tests.helpers.scenes import planned
from wanstreamer.errors import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Rows]]:
    folder = tmp_path_factory.mktemp("scenes")
    kinds = ("cuts", "echo", "sound", "mute")
    return folder, {kind: make_scene(planned(kind), folder, folder / "separate") for kind in kinds}


def sound_of(path: Path) -> tuple[np.ndarray, int]:
    """The first channel; where there is another, it is the same."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", rate=16_000)
        parts = [p.to_ndarray() for f in container.decode(audio=0) for p in resampler.resample(f)]
        return np.concatenate(parts, axis=1)[0], 16_000


def test_a_scene_is_one_file_and_nothing_else(made: tuple[Path, dict[str, Rows]]) -> None:
    folder, rows = made
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert names == sorted(own["scenes"][0]["file"] for own in rows.values())
    for kind, own in rows.items():
        media = probe(folder / own["scenes"][0]["file"])
        assert media.has_audio == (kind != "mute")
        assert (media.width, media.height) == ((640, 360) if kind != "sound" else (0, 0))


@pytest.mark.parametrize("kind", ["cuts", "echo", "sound"])
def test_someone_is_heard_where_someone_speaks(kind: str, made: tuple[Path, dict[str, Rows]]) -> None:
    folder, rows = made
    sound, rate_hz = sound_of(folder / rows[kind]["scenes"][0]["file"])
    assert abs(len(sound) / rate_hz - planned(kind).seconds) < 0.2
    speech = inside(rows[kind]["speech"], len(sound), rate_hz, 0)
    late = [span | {"end_ms": span["end_ms"] + 800} for span in rows[kind]["speech"]]
    near = inside(late, len(sound), rate_hz, 50)
    assert {span["participant"] for span in rows[kind]["speech"]} == {"a", "b"}
    assert 10 * np.log10(np.mean(sound[speech] ** 2) / np.mean(sound[~near] ** 2)) > 12
    assert np.abs(sound).max() < 0.99


def test_an_echo_fills_the_pauses(made: tuple[Path, dict[str, Rows]]) -> None:
    folder, rows = made

    def tail_db(kind: str) -> float:
        """The sound 50 to 150 ms after the speech, relative to the speech."""
        sound, rate_hz = sound_of(folder / rows[kind]["scenes"][0]["file"])
        spans = sorted((span["start_ms"], span["end_ms"]) for span in rows[kind]["speech"])
        ends = [end for (_, end), (start, _) in zip(spans, spans[1:], strict=False) if start > end + 200]
        speech = np.concatenate([sound[s * rate_hz // 1000 : e * rate_hz // 1000] for s, e in spans])
        tails = [sound[(end + 50) * rate_hz // 1000 : (end + 150) * rate_hz // 1000] for end in ends]
        return float(10 * np.log10(np.mean(np.concatenate(tails) ** 2) / np.mean(speech**2)))

    assert tail_db("echo") > tail_db("sound") + 3


def test_separate_tracks_have_one_voice_each(made: tuple[Path, dict[str, Rows]]) -> None:
    folder, rows = made
    assert sorted(path.name for path in (folder / "separate").iterdir()) == ["cuts-0000", "echo-0000", "sound-0000"]
    speech = {who: [row for row in rows["cuts"]["speech"] if row["participant"] == who] for who in "ab"}
    for own, other in ("ab", "ba"):
        sound, rate_hz = sound_of(folder / "separate" / "cuts-0000" / f"{own}.wav")
        voice, rest = inside(speech[own], len(sound), rate_hz, 0), inside(speech[own], len(sound), rate_hz, 50)
        theirs = inside(speech[other], len(sound), rate_hz, 0) & ~rest
        assert 10 * np.log10(np.mean(sound[voice] ** 2) / np.mean(sound[theirs] ** 2)) > 10


def inside(spans: list[dict[str, Any]], num_samples: int, rate_hz: int, margin_ms: int) -> np.ndarray:
    """Whether each sample is in one of the spans, or that near."""
    time_ms = np.arange(num_samples) * 1000 / rate_hz
    hits = np.zeros(num_samples, bool)
    for span in spans:
        hits |= (time_ms >= span["start_ms"] - margin_ms) & (time_ms < span["end_ms"] + margin_ms)
    return hits


def test_the_truth_of_a_scene_is_whole(made: tuple[Path, dict[str, Rows]]) -> None:
    _, rows = made
    cuts = rows["cuts"]
    assert cuts["scenes"][0]["rejection"] == "" and rows["mute"]["scenes"][0]["rejection"] == "no_audio"
    assert cuts["shots"][0]["start_ms"] == 0 and cuts["shots"][-1]["end_ms"] == pytest.approx(20_000, abs=50)
    assert cuts["transitions"] and cuts["turns"] and not rows["mute"]["turns"]
    for face in cuts["faces"]:
        assert 0 <= face["left"] < face["right"] <= 640 and 0 <= face["top"] < face["bottom"] <= 360
        own = [span for span in cuts["visible"] if span["participant"] == face["participant"]]
        assert any(span["start_ms"] <= face["time_ms"] < span["end_ms"] for span in own)
    assert rows["sound"]["faces"] == []


def test_the_same_bytes_again(made: tuple[Path, dict[str, Rows]], tmp_path: Path) -> None:
    folder, rows = made
    for kind in ("cuts", "sound"):
        assert make_scene(planned(kind), tmp_path) == rows[kind]
        name = rows[kind]["scenes"][0]["file"]
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_scenes_of_the_corpus_stand_next_to_its_sessions(tmp_path: Path) -> None:
    params = SampleParams(sessions=1, scenes=1, seconds=20, width=128, height=96, pictures=False)
    counts = run(tmp_path, params, RunParams(workers=2))
    assert counts["scenes"] == {"two_shot": 1} and counts["keys"] == 1
    _, streams = find_sources(tmp_path / "sources", warn=False)
    assert {row.session_id for row in streams} == {"talk-0000", "two_shot-0000"}
    assert all((tmp_path / "sources" / row.uri).is_file() for row in streams)

    def table(name: str) -> list[dict[str, Any]]:
        return pq.read_table(tmp_path / "truth" / f"{name}.parquet").to_pylist()

    assert {row["session_id"] for row in table("scenes")} == {"two_shot-0000"}
    assert {row["session_id"] for row in table("speech")} == {"talk-0000", "two_shot-0000"}
    with pytest.raises(InputError, match=r"seconds: 10; expected 20 or more with scenes \(1\)"):
        SampleParams(scenes=1, seconds=10)
