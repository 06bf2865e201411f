"""The encode stage: latents equal the VAE's own, tars are equal bytes, nothing is lost silently or done twice."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.encode import stage as encode
from pipelines.encode.stage import EncodeParams, Encoder
from pipelines.engine.jobs import Damaged, Job, Rejected, Result
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.media.tracks import read_frames, read_wav
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import keep_in_process
from tests.helpers.small_tracks import HEIGHT, WIDTH, hash_again, write_tracks
from tests.helpers.small_vaes import small_vae
from wanstreamer import vae
from wanstreamer.errors import InputError

SESSIONS = {"talk-1": ("train", "av", 9), "talk-2": ("test", "av", 5), "call": ("train", "a", 4)}


def write_vaes(data: Path) -> None:
    for kind in ("audio", "video"):
        vae.save(small_vae(kind), data / "models" / "vae" / f"{kind}.safetensors")


def read_tar(path: Path) -> dict[str, np.ndarray]:
    with tarfile.open(path) as tar:
        return {
            info.name: np.load(io.BytesIO(tar.extractfile(info).read()), allow_pickle=False)  # type: ignore[union-attr]
            for info in tar.getmembers()
        }


def read_segment(result: Result) -> dict[str, np.ndarray]:
    """The members of the latents of a session; they become a part of a shard."""
    (segment,) = result.segments
    assert segment.folder == "latents"
    return read_tar(segment.path)


def jobs_and_encoder(data: Path, **changes: int) -> tuple[dict[str, Job], Encoder]:
    paths = {kind: data / "models" / "vae" / f"{kind}.safetensors" for kind in ("audio", "video")}
    hashes = {kind: vae.weights_hash(path) for kind, path in paths.items()}
    tracks = read_rows(data, "tracks")
    jobs = {key: encode.make_job(key, [row for row in tracks if row["session_id"] == key], hashes) for key in SESSIONS}
    settings = {"piece_units": 25} | changes
    return jobs, Encoder(paths={kind: str(path) for kind, path in paths.items()}, weights_hashes=hashes, **settings)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = tmp_path_factory.mktemp("encode") / "data"
    write_tracks(data, SESSIONS)
    write_vaes(data)
    before = torch.get_num_threads()
    yield data
    torch.set_num_threads(before)


@pytest.mark.parametrize("piece_units", [1, 4, 25])
def test_latents_are_the_vaes_own_whatever_the_pieces(corpus: Path, tmp_path: Path, piece_units: int) -> None:
    jobs, encoder = jobs_and_encoder(corpus, piece_units=piece_units)
    result = encoder(jobs["talk-1"], corpus, tmp_path)
    members = read_segment(result)
    assert list(members) == [f"talk-1.{who}.{kind}.npy" for who in "ab" for kind in ("audio", "video")]
    members = {name.removeprefix("talk-1."): array for name, array in members.items()}
    samples_T, _ = read_wav(corpus / track_path("talk-1", "b", "wav"))
    frames_THWC = read_frames(corpus / track_path("talk-1", "b", "mp4"))
    audio, _ = small_vae("audio").encode(torch.from_numpy(samples_T.copy())[None])
    video, _ = small_vae("video").encode(torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)[None] / 127.5 - 1)
    assert members["b.audio.npy"].dtype == members["b.video.npy"].dtype == np.float16
    assert members["b.audio.npy"].shape == (9, 4, 6)
    assert members["b.video.npy"].shape == (9, 5, 2, 2)
    np.testing.assert_allclose(members["b.audio.npy"], audio[0].unflatten(0, (-1, 4)).numpy(), atol=5e-3, rtol=2e-3)
    np.testing.assert_allclose(members["b.video.npy"], video[0].numpy(), atol=5e-3, rtol=2e-3)
    row = result.tables["latents"][1]
    assert (row["participant"], row["num_units"], row["audio_member"]) == ("b", 9, "talk-1.b.audio.npy")
    whole = result.segments[0].path.read_bytes()
    for kind in ("audio", "video"):
        content = io.BytesIO(whole[row[f"{kind}_offset"] :])
        np.testing.assert_array_equal(np.load(content, allow_pickle=False), members[f"b.{kind}.npy"])
        npy = whole[row[f"{kind}_offset"] :][: content.tell()]
        assert hashlib.sha256(npy).hexdigest() == row[f"{kind}_sha256"]
    assert row["video_std"] == pytest.approx(video.std(unbiased=False).item(), rel=1e-3)


def test_what_is_done_side_by_side_equals_what_is_done_alone(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, here on the CPU."""
    jobs, encoder = jobs_and_encoder(corpus, piece_units=4)
    alone = read_segment(encoder(jobs["talk-1"], corpus, tmp_path))
    calls = []
    monkeypatch.setattr(encode, "_together", lambda tracks, device: (calls.append(len(tracks)), [tracks])[1])
    together = read_segment(encoder(jobs["talk-1"], corpus, tmp_path))
    assert calls == [2, 2] and list(alone) == list(together)
    for name in alone:
        np.testing.assert_allclose(alone[name], together[name], atol=1e-3)


def test_tracks_go_together_on_a_gpu_where_they_are_as_long() -> None:
    tracks = [{"num_units": units} for units in (5, 9, 5)]
    assert encode._together(tracks, "cpu") == [[track] for track in tracks]
    assert encode._together(tracks, "cuda") == [[tracks[0], tracks[2]], [tracks[1]]]


def test_what_is_made_ahead_comes_in_order_and_errors_come_in_their_place() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise ValueError("late")

    found: list[int] = []
    with pytest.raises(ValueError, match="late"):
        found.extend(encode.ahead(numbers()))
    assert found == [0, 1, 2]


def test_a_damaged_track_is_a_rejection(corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tracks(data, SESSIONS)
    write_vaes(data)
    jobs, encoder = jobs_and_encoder(data)
    video = data / track_path("talk-1", "a", "mp4")
    content = video.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"\0" * 5000):
        video.write_bytes(damaged)
        with pytest.raises(Damaged, match="a.mp4: its checksum differs"):  # from that of its table
            encoder(jobs["talk-1"], data, tmp_path)
        hash_again(data)
        with pytest.raises(Rejected) as caught:
            encoder(jobs_and_encoder(data)[0]["talk-1"], data, tmp_path)
        assert caught.value.reason in ("unreadable", "damaged_track")
        assert "a.mp4" in caught.value.detail
    sound = data / track_path("call", "b", "wav")
    sound.write_bytes(sound.read_bytes()[:-4000])
    hash_again(data)
    with pytest.raises(Rejected, match="b.wav: ends after"):
        encoder(jobs_and_encoder(data)[0]["call"], data, tmp_path)
    sound.unlink()
    with pytest.raises(Damaged, match="b.wav: no such file"):
        encoder(jobs["call"], data, tmp_path)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tracks(data, {"talk-1": ("train", "av", 3)})
    with pytest.raises(InputError, match=r"audio\.safetensors: no such file.*run the vae stage"):
        encode.run(data, EncodeParams(), RunParams(workers=1))
    write_vaes(data)
    vae.save(vae.VideoVAE(vae.VideoVAEConfig(height=48, width=64)), data / "models" / "vae" / "video.safetensors")
    job = encode.make_job("talk-1", read_rows(data, "tracks"), {})
    paths = {kind: str(data / "models" / "vae" / f"{kind}.safetensors") for kind in ("audio", "video")}
    encoder = Encoder(paths=paths, weights_hashes={"audio": "x", "video": "y"}, piece_units=25)
    with pytest.raises(InputError, match=f"{WIDTH}x{HEIGHT}, the video VAE takes 64x48"):
        encoder(job, data, tmp_path)


@pytest.mark.slow
def test_stage_counts_resumes_and_gives_equal_bytes_for_any_workers(
    tmp_path: Path, ray_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker is this process."""
    made: list[dict[str, bytes]] = []
    threads = torch.get_num_threads()
    for workers in (2, 1):
        if workers == 1:
            keep_in_process(monkeypatch)
        data = tmp_path / str(workers) / "data"
        write_tracks(data, SESSIONS)
        write_vaes(data)
        (data / track_path("talk-2", "b", "mp4")).write_bytes(b"no video")
        hash_again(data)
        counts = encode.run(data, EncodeParams(), RunParams(workers=workers))
        assert counts["keys"] == 3
        assert counts["done"] == 2
        assert sum(counts["rejected"].values()) == 1
        assert counts["rows"] == {"latents": 4}
        files = [*(data / "latents").iterdir(), *(data / "tables" / "latents").iterdir()]
        made.append({path.name: path.read_bytes() for path in sorted(files)})
    assert made[0] == made[1]
    (shard,) = (data / "latents").iterdir()
    assert sorted(made[0]) == [shard.name, "b=0000.parquet"]
    assert {name.split(".")[0] for name in read_tar(shard)} == {"call", "talk-1"}

    rows = read_rows(data, "latents")
    assert {row["session_id"] for row in rows if row["video_member"] is None} == {"call"}
    assert all(row["audio_codec"] == vae.weights_hash(data / "models" / "vae" / "audio.safetensors") for row in rows)
    before = shard.stat().st_mtime_ns
    write_tracks(data, SESSIONS)  # talk-2 is whole again
    assert encode.run(data, EncodeParams(), RunParams(workers=1))["done"] == 3
    assert shard.stat().st_mtime_ns == before and len(list((data / "latents").iterdir())) == 2
    retrained = small_vae("audio")
    retrained.latent_std_C.mul_(2)
    vae.save(retrained, data / "models" / "vae" / "audio.safetensors")
    encode.run(data, EncodeParams(), RunParams(workers=1))
    assert not shard.exists()
    (whole,) = (data / "latents").iterdir()
    assert {name.split(".")[0] for name in read_tar(whole)} == set(SESSIONS)
    torch.set_num_threads(threads)
