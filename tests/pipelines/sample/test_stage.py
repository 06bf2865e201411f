"""The sample: what its truth says is really there, it is the same every time, and it is varied where it should be."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.engine.params import build_params
from pipelines.engine.run import RunParams
from pipelines.media.probing import probe
from pipelines.sample import stage as corpus
from pipelines.sample.session import make_session
from pipelines.sample.stage import SampleParams, run
from pipelines.sources.find import find_sources
from pipelines.sources.row import COLUMNS
from tests.helpers.paths import ROOT
from tests.helpers.plans import plan_of
from wanstreamer.errors import InputError

SMALL = SampleParams(sessions=2, seconds=10, width=128, height=96)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("sample") / "data"
    run(data, SMALL, RunParams(workers=2))
    return data


def rows(data: Path, table: str, **where: str) -> list[dict[str, Any]]:
    all_rows = pq.read_table(data / "truth" / f"{table}.parquet").to_pylist()
    return [row for row in all_rows if all(row[key] == value for key, value in where.items())]


def decode(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = []
        resampler = av.AudioResampler("fltp", "mono")
        for frame in container.decode(stream):
            frames += [part.to_ndarray() for part in resampler.resample(frame)]
        return np.concatenate(frames, axis=1)[0], stream.rate


def file_hashes(data: Path) -> dict[str, str]:
    """Of all but how long it took."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.parent.name != "timings"
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


def test_sidecars_are_on_the_clock_of_their_file(sample: Path) -> None:
    _, streams = find_sources(sample / "sources")
    for stream in streams:
        assert stream.words_uri
        sidecar_words = json.loads((sample / "sources" / stream.words_uri).read_text())["words"]
        known = rows(sample, "words", session_id=stream.session_id, participant=stream.participant)
        assert [word["word"] for word in sidecar_words] == [word["word"] for word in known]
        assert [w["start_ms"] + stream.start_offset_ms for w in sidecar_words] == [w["start_ms"] for w in known]
        assert all(word["start_ms"] >= 0 for word in sidecar_words)


def test_same_bytes_again_and_with_one_worker(sample: Path, tmp_path: Path) -> None:
    known = file_hashes(sample)
    run(tmp_path / "data", SMALL, RunParams(workers=1))
    assert file_hashes(tmp_path / "data") == known
    assert {name.split("/")[0] for name in known} == {"sources", "truth"}


def test_a_run_that_fails_leaves_the_old_sample(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = file_hashes(sample)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(corpus, "_record", fail)
    with pytest.raises(OSError, match="disk full"):
        run(sample, replace(SMALL, seed=1), RunParams(workers=1))
    assert {name: file_hash for name, file_hash in file_hashes(sample).items() if not name.startswith(".")} == known


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


def test_special_layouts_are_recorded(tmp_path: Path) -> None:
    recordings = {r.layout if not r.is_truncated else "truncated": r for r in plan_of(24, 8)}
    size: dict[str, int] = {"seed": 0, "width": 64, "height": 48}
    streams, _, _ = make_session(recordings["split_screen"], tmp_path, **size)
    assert [row["crop"] for row in streams] == ["0:0:64:48", "64:0:64:48"]
    assert [row["channel"] for row in streams] == [0, 1]
    assert streams[0]["uri"] == streams[1]["uri"]
    media = probe(tmp_path / streams[0]["uri"])
    assert (media.width, media.height, media.channels) == (128, 48, 2)
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


def test_the_user_is_told_what_is_wrong(tmp_path: Path) -> None:
    for wrong in ({"sessions": 0}, {"seconds": 2}, {"width": 33}, {"test_fraction": 1.0}, {"seed": -1}):
        with pytest.raises(InputError, match="expected"):
            build_params(SampleParams, wrong, "sample")
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
