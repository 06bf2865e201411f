"""Sizes and files that are predicted exactly, compared with what the stages write."""

from pathlib import Path

import pytest

from pipelines.encode import stage as encode
from pipelines.encode.params import EncodeParams
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest.params import IngestParams
from pipelines.pack import stage as pack
from pipelines.pack.params import PackParams
from pipelines.vae.params import VaeParams
from tests.helpers.small_corpus import AUDIO_SHAPE, VIDEO_SHAPE, Person, keep_in_process, write_corpus
from tests.helpers.small_tracks import write_tracks
from tests.helpers.small_vaes import small_vae
from tools.plan.amounts import Amounts
from tools.plan.layout import disk_of, latent_shapes, latents_bytes, predicted_files, window_bytes
from wanstreamer import vae
from wanstreamer.clock import UNIT_MS

SESSIONS, UNITS = 3, 40


def test_windows_take_what_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person(speech_units={6})}
    write_corpus(tmp_path, {f"s{number}": ("train", UNITS, people) for number in range(SESSIONS)})
    params = PackParams(vocab_size=300)
    pack.run(tmp_path, params, RunParams(workers=1))
    windows = len(read_rows(tmp_path, "windows"))
    amounts = Amounts(sessions=SESSIONS, audio_tracks=2 * SESSIONS, video_tracks=2 * SESSIONS, windows=windows)
    tars = sum(path.stat().st_size for path in (tmp_path / "windows").rglob("*.tar"))
    expected = windows * window_bytes(params, {"audio": AUDIO_SHAPE, "video": VIDEO_SHAPE})
    assert expected == tars - 1024  # the end of a tar
    assert disk_of(tmp_path, "pack").files == predicted_files("pack", amounts, 1, tars)
    assert disk_of(tmp_path, "pack").bulk_bytes >= tars


def test_latents_take_what_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_process(monkeypatch)
    data = tmp_path / "data"
    write_tracks(data, {f"s{number}": ("train", "av", UNITS) for number in range(SESSIONS)})
    for kind in ("audio", "video"):
        vae.save(small_vae(kind), data / "models" / "vae" / f"{kind}.safetensors")
    encode.run(data, EncodeParams(), RunParams(workers=1))
    seconds = 2 * SESSIONS * UNITS * UNIT_MS / 1000
    amounts = Amounts(
        sessions=SESSIONS, audio_tracks=2 * SESSIONS, video_tracks=2 * SESSIONS, audio_s=seconds, video_s=seconds
    )
    finished = VaeParams(weights=str(data / "models" / "vae"))
    shapes = latent_shapes(finished, IngestParams(width=32, height=32), amounts)
    assert shapes == {"audio": (4, 6), "video": (5, 2, 2)}
    found = disk_of(data, "encode")
    assert latents_bytes(amounts, shapes) == pytest.approx(found.bulk_bytes, rel=0.05)
    assert found.files == predicted_files("encode", amounts, 1, found.bulk_bytes)


def test_a_corpus_without_video_has_video_latents_of_size_one() -> None:
    shapes = latent_shapes(VaeParams(), IngestParams(), Amounts(audio_tracks=2))
    assert shapes == {"audio": (4, 16), "video": (1, 1, 1)}
