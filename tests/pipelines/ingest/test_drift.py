"""A long recording at a varying rate: no drift between its true timestamps and the track.

A minute in `make test`, ten in `make test-long`, an hour in `make stress`.
"""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.media.tracks import read_frames, read_wav
from tests.helpers.chirps import CHIRP_S, RATE_HZ, chirp, ffmpeg
from tests.helpers.clips import ingest_rows

TICKS_HZ = 90_000
BITS = 20  # of a frame's index: rows of 5 blocks in a picture of 64 x 48
CHIRP_EVERY_S = 10


def write_pictures(path: Path, seconds: float) -> np.ndarray:
    """29.97 fps with jitter, a tenth of the frames lost, some of them in a row. Returns the timestamps in ticks."""
    rng = np.random.default_rng(0)
    times_s = np.arange(int(seconds * 30000 / 1001)) * 1001 / 30000
    times_s[1:] += rng.uniform(-0.012, 0.012, len(times_s) - 1)
    lost = rng.random(len(times_s)) < 0.06
    for start in rng.integers(30, len(times_s), len(times_s) // 300):
        lost[start : start + rng.integers(2, 20)] = True
    lost[0] = lost[-1] = False
    ticks_N = np.round(times_s[~lost] * TICKS_HZ).astype(np.int64)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 64, 48, "yuv420p", 1
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS_HZ)
        grey = np.full((72, 64), 128, np.uint8)
        for index, ticks in enumerate(ticks_N.tolist()):
            bits = (index >> np.arange(BITS)) & 1
            grey[:48, :60] = (16 + 219 * bits.astype(np.uint8)).reshape(4, 5).repeat(12, axis=0).repeat(12, axis=1)
            frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
            frame.pts, frame.time_base = ticks, Fraction(1, TICKS_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return ticks_N


def write_sound(path: Path, seconds: float) -> np.ndarray:
    """A chirp in every piece of 10 s. Returns their beginnings in samples of the track."""
    rng, places = np.random.default_rng(1), []
    call = np.round(16000 * chirp(48000)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        for piece in range(int(seconds / CHIRP_EVERY_S)):
            sound = np.zeros(48000 * CHIRP_EVERY_S, "<i2")
            at = 3 * int(rng.integers(RATE_HZ, RATE_HZ * (CHIRP_EVERY_S - 1)))
            sound[at : at + len(call)] = call
            file.writeframes(sound.tobytes())
            places.append(piece * CHIRP_EVERY_S * RATE_HZ + at // 3)
    return np.array(places)


def shown_indices(track: Path, num_frames: int) -> np.ndarray:
    found = []
    for start in range(0, num_frames, 2000):
        blocks = read_frames(track, start, start + 2000)[:, 6:48:12, 6:60:12, 1].reshape(-1, BITS)
        found.append((blocks > 128) @ (1 << np.arange(BITS)))
    return np.concatenate(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "minutes", [1, pytest.param(10, marks=pytest.mark.long), pytest.param(60, marks=pytest.mark.stress)]
)
def test_frames_and_clicks_are_in_place_to_the_end(tmp_path: Path, minutes: int) -> None:
    seconds = 60 * minutes
    ticks_N = write_pictures(tmp_path / "picture.mov", seconds)
    places = write_sound(tmp_path / "sound.wav", seconds)
    ffmpeg("-i", tmp_path / "picture.mov", "-i", tmp_path / "sound.wav", "-c", "copy", tmp_path / "x.mov")
    result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "x.mov"}])
    row = result.tables["tracks"][0]
    num_frames = 4 * row["num_units"]
    assert num_frames * 0.04 > seconds - 0.3

    shown = shown_indices(data / "tracks/04/s.a.mp4", num_frames)
    wanted = np.arange(num_frames) * (TICKS_HZ // 25)
    after = np.searchsorted(ticks_N, wanted)
    before, after = np.maximum(after - 1, 0), np.minimum(after, len(ticks_N) - 1)
    apart = np.abs(ticks_N[shown] - wanted)
    nearest = np.minimum(np.abs(ticks_N[before] - wanted), np.abs(ticks_N[after] - wanted))
    dense = ticks_N[after] - ticks_N[before] <= TICKS_HZ // 25
    assert dense.mean() > 0.4 and (apart - nearest)[dense].max() <= 2  # ticks of 11 us, of equally near frames
    # In a gap the frame before it stands, until 20 ms before the next.
    held = np.where(ticks_N[after] - wanted <= TICKS_HZ // 50, after, before)
    assert (shown == held)[~dense].all()

    audio, _ = read_wav(data / "tracks/04/s.a.wav")
    call, wrong = chirp(RATE_HZ), []
    for place in places:
        reach = min(RATE_HZ, place)
        likeness = np.correlate(audio[place - reach : place + RATE_HZ + round(CHIRP_S * RATE_HZ)], call, "valid")
        wrong.append(int(np.abs(likeness).argmax()) - reach)
    assert np.abs(wrong).max() <= 1
    assert (row["audio_filled_ms"], row["audio_cut_ms"], row["clock_joins"]) == (0, 0, 0)
    print(
        f"{minutes} min: {len(ticks_N)} source frames, {num_frames} shown, farthest {apart[dense].max() / 90:.1f} ms "
        f"between frames at most 40 ms apart; {len(places)} chirps, at most {np.abs(wrong).max()} samples off"
    )
