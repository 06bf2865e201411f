"""Make recordings of test people, in forms that corpora have: `python -m tools.bench recordings calls FOLDER`.

The picture is a face-sized moving pattern before a still background, with camera noise. As a track it takes about as
many bytes as the drawn people of the sample, whatever the size of the source. The sound is made of vowels with a pitch
contour, in turns; silero finds speech in it. Words and RTTM are the truth of the turns. The patterns have no faces, so
the stage quality keeps such sessions only with `--set quality.min_face_share=0`.
"""

import argparse
import csv
import json
import subprocess
import tempfile
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.media.process import ffmpeg_path
from wanstreamer.errors import InputError

RATE_HZ = 48_000
VOWELS_HZ = np.array(  # the first three formants of six vowels
    [[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [660, 1720, 2410], [440, 1020, 2240]]
)
FORMANTS = ((1.0, 80), (0.5, 110), (0.25, 150))  # level, bandwidth in Hz
HARMONICS = 24
WORDS = ("we", "could", "see", "that", "later", "people", "would", "really", "like", "about", "this", "again")
WORDS_PER_S = 2.5
CONTAINERS = {  # by encoder
    "libx264": "mp4", "libx265": "mp4", "libvpx-vp9": "webm", "libvpx": "webm", "libsvtav1": "mp4", "mpeg4": "avi",
}  # fmt: skip
QUICK = {  # options of encoders that are slow otherwise
    "libx264": ("-preset", "veryfast", "-threads", "1"),
    "libx265": ("-preset", "ultrafast", "-x265-params", "log-level=error"),
    "baseline": ("-preset", "ultrafast", "-threads", "1"),  # of libx264
    "libvpx-vp9": ("-deadline", "realtime", "-cpu-used", "8"),
    "libvpx": (),
    "mpeg4": (),
    "libsvtav1": ("-preset", "12"),
}
COLUMNS = (
    "session_id", "participant", "speaker_id", "uri", "audio_uri", "audio_kind", "words_uri", "rttm_uri",
    "rttm_speaker", "language", "consent",
)  # fmt: skip

Turn = tuple[float, float]  # seconds


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Sessions of two people, recorded alike."""

    prefix: str  # of their ids
    sessions: int
    seconds: float  # of the longest session
    shortest_s: float = 0  # lengths are spread between this and `seconds`; 0: all are equal
    size: str = ""  # pixels of the video; empty: sound only
    frames_per_s: int = 25
    mbit_per_s: float = 1.0  # of the video
    codec: str = "libx264"
    shared_sound: bool = False  # one microphone for both, and an RTTM
    distinct: bool = False  # every participant has other pictures; takes longer to make

    def lengths_s(self) -> list[float]:
        if not self.shortest_s:
            return [self.seconds] * self.sessions
        return [float(length) for length in np.linspace(self.shortest_s, self.seconds, self.sessions).round(2)]

    @property
    def hours(self) -> float:
        """Of conversation."""
        return sum(self.lengths_s()) / 3600


# Name -> recordings, and sessions with flaws.
CORPORA: dict[str, tuple[tuple[Recordings, ...], tuple[str, ...]]] = {
    "meetings": (
        (Recordings(prefix="meeting", sessions=4, seconds=180, size="1280x720", frames_per_s=30, mbit_per_s=2,
                    shared_sound=True, distinct=True),),
        (),
    ),
    "calls": (
        (
            Recordings(prefix="call", sessions=12, seconds=60, size="640x360", mbit_per_s=0.7, distinct=True),
            Recordings(prefix="phone", sessions=14, shortest_s=4, seconds=60),
        ),
        ("alone", "no_consent", "missing", "damaged", "short", "alone"),
    ),
}  # fmt: skip


def make_recordings(folder: Path, parts: Sequence[Recordings], flaws: Sequence[str] = ()) -> Path:
    """Write recordings and their manifest; returns the manifest. `flaws`: a session more for each (see `_flawed`)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".clips-") as scratch:
        for part in parts:
            for number, seconds in enumerate(part.lengths_s()):
                rows += _session(folder, Path(scratch), part, number, seconds)
    for number, flaw in enumerate(flaws):
        rows += _flawed(folder, rows[: len(parts[0].lengths_s()) * 2], flaw, number)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def _session(folder: Path, scratch: Path, part: Recordings, number: int, seconds: float) -> Iterator[dict[str, str]]:
    session_id = f"{part.prefix}-{number:03d}"
    home = folder / session_id
    home.mkdir(exist_ok=True)
    rng = np.random.default_rng([number, len(part.prefix), *part.prefix.encode()])
    turns = make_turns(seconds, rng)
    sounds = {who: make_speech(seconds, turns[who], 98 + 6 * place, rng) for place, who in enumerate("ab")}
    if part.shared_sound:
        _write_wav(home / "room.wav", sum(sounds.values()))  # type: ignore[arg-type]
        lines = [f"SPEAKER {session_id} 1 {start:.3f} {end - start:.3f} <NA> <NA> {who} <NA> <NA>"
                 for who in "ab" for start, end in turns[who]]  # fmt: skip
        (home / "room.rttm").write_text("\n".join(lines) + "\n")
    for place, who in enumerate("ab"):
        row = {"session_id": session_id, "participant": who, "language": "en", "consent": "train;share;show"}
        sound = scratch / f"{who}.wav"
        _write_wav(sound, sounds[who])
        clip = _clip(scratch, part, 2 * number + place) if part.size else None
        if part.shared_sound and clip:
            target = home / f"{who}.{CONTAINERS[part.codec]}"
            _join(clip, None, target, seconds)
        else:
            target = home / f"{who}.{CONTAINERS[part.codec] if clip else 'm4a'}"
            _join(clip, sound, target, seconds)
        if part.shared_sound:
            row |= {"audio_uri": f"{session_id}/room.wav", "audio_kind": "shared", "rttm_speaker": who}
            row |= {"rttm_uri": f"{session_id}/room.rttm"}
        words = home / f"{who}.words.json"
        words.write_text(json.dumps({"words": make_words(turns[who], rng)}))
        yield row | {"uri": f"{session_id}/{target.name}", "words_uri": f"{session_id}/{words.name}"}


def _flawed(folder: Path, rows: Sequence[Mapping[str, str]], flaw: str, number: int) -> list[dict[str, str]]:
    """The rows of a session with the media of an intact one, and one flaw."""
    session_id = f"flawed-{number:03d}-{flaw}"
    start = 2 * number % len(rows)
    first, second = ({**row, "session_id": session_id} for row in rows[start : start + 2])
    if flaw == "alone":
        return [first]
    if flaw == "no_consent":
        second["consent"] = "show"
    elif flaw == "missing":
        second["uri"] = "nowhere/b.mp4"
    elif flaw == "damaged":
        second["uri"] = f"{session_id}.mp4"
        (folder / second["uri"]).write_bytes(bytes(range(256)) * 64)
    elif flaw == "short":
        second["uri"] = f"{session_id}.wav"
        _write_wav(folder / second["uri"], np.zeros(RATE_HZ // 2, np.float32))
    else:
        raise ValueError(flaw)
    return [first, second]


def make_turns(seconds: float, rng: np.random.Generator) -> dict[str, list[Turn]]:
    """Who speaks when: turns of 1.5 to 6 s, one after the other, with pauses."""
    turns: dict[str, list[Turn]] = {"a": [], "b": []}
    at_s, who = 0.3, "a"
    while at_s < seconds - 0.5 or not turns["b"]:
        end_s = min(seconds - 0.1, at_s + rng.uniform(1.5, 6))
        turns[who].append((at_s, max(end_s, at_s + 0.1)))
        at_s, who = end_s + rng.uniform(0.1, 0.8), "b" if who == "a" else "a"
    return turns


def make_words(turns: Sequence[Turn], rng: np.random.Generator) -> list[dict[str, Any]]:
    words = []
    for start_s, end_s in turns:
        count = max(1, int((end_s - start_s) * WORDS_PER_S))
        edges_ms = np.linspace(1000 * start_s, 1000 * end_s, count + 1).astype(int)
        words += [
            {"word": WORDS[rng.integers(len(WORDS))], "start_ms": int(begin), "end_ms": int(end)}
            for begin, end in zip(edges_ms, edges_ms[1:], strict=False)
        ]
    return words


def make_speech(seconds: float, turns: Sequence[Turn], pitch_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Mono float32 at RATE_HZ: syllables of gliding vowels in the turns, faint noise elsewhere."""
    made = rng.normal(0, 0.001, round(seconds * RATE_HZ)).astype(np.float32)
    rate_hz = 16_000  # of the synthesis; a third of the final rate, by repetition of samples
    for start_s, end_s in turns:
        time_T = np.arange(int((end_s - start_s) * rate_hz)) / rate_hz
        syllables_T = time_T * rng.uniform(3.5, 5)
        index_T, phase_T = syllables_T.astype(int), syllables_T % 1
        vowels = VOWELS_HZ[rng.integers(0, len(VOWELS_HZ), index_T[-1] + 2)]
        formants_T3 = vowels[index_T] * (1 - phase_T[:, None]) + vowels[index_T + 1] * phase_T[:, None]
        pitch_T = pitch_hz * (1 + 0.08 * np.sin(4.4 * time_T) - 0.1 * time_T / (end_s - start_s))
        angle_T = 2 * np.pi * np.cumsum(pitch_T) / rate_hz
        voice_T = np.zeros(len(time_T))
        for harmonic in range(1, HARMONICS + 1):
            level_T = sum(
                level / (1 + ((harmonic * pitch_T - formants_T3[:, place]) / width_hz) ** 2)
                for place, (level, width_hz) in enumerate(FORMANTS)
            )
            voice_T += level_T * np.sin(harmonic * angle_T)
        voice_T += (phase_T < 0.15) * rng.normal(0, 0.15, len(time_T))
        spoken = np.repeat(0.1 * np.sin(np.pi * phase_T) ** 0.6 * voice_T, RATE_HZ // rate_hz).astype(np.float32)
        begin = int(start_s * RATE_HZ)
        made[begin : begin + len(spoken)] += spoken[: max(0, len(made) - begin)]
    return made.clip(-0.9, 0.9)


def _clip(scratch: Path, part: Recordings, seed: int) -> Path:
    """Video without sound, of the longest length. The same file serves all participants, unless they are distinct."""
    seed = seed if part.distinct else 0
    clip = scratch / f"{part.prefix}-{seed}.{CONTAINERS[part.codec]}"
    if clip.exists():
        return clip
    command = [
        ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", picture_graph(part.size, part.frames_per_s, seed),
        "-t", str(part.seconds), "-c:v", part.codec, *QUICK.get(part.codec, ()), 
        "-b:v", f"{part.mbit_per_s}M", "-g", str(2 * part.frames_per_s),
        "-pix_fmt", "yuv420p", str(clip),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return clip


def picture_graph(size: str, frames_per_s: int, seed: int) -> str:
    """The filter graph of a person in motion; of the same content at every size."""
    rng = np.random.default_rng(seed)
    left, top = rng.integers(160, 320), rng.integers(70, 130)
    sway_s, nod_s = rng.uniform(2.5, 3.5), rng.uniform(1.1, 1.5)
    x, y = -0.743643887037151 + rng.uniform(-1, 1) * 1e-7, -0.131825904205311 + rng.uniform(-1, 1) * 1e-7
    return (
        f"gradients=s=640x360:r=25:nb_colors=6:seed={seed + 1}:d=0.04,loop=-1:1,fps={frames_per_s}[back];"
        f"mandelbrot=s=160x160:r={frames_per_s}:start_x={x:.12f}:start_y={y:.12f}[face];"
        f"[back][face]overlay=x='{left}+40*sin(2*PI*t/{sway_s:.2f})':y='{top}+15*sin(2*PI*t/{nod_s:.2f})',"
        f"scale={size.replace('x', ':')}:flags=bicubic,noise=alls=6:allf=t"
    )


def _join(clip: Path | None, sound: Path | None, target: Path, seconds: float) -> None:
    codec = "libopus" if target.suffix == ".webm" else "aac"
    inputs = [option for path in (clip, sound) if path for option in ("-i", str(path))]
    command = [
        ffmpeg_path(), "-v", "error", "-y", *inputs, "-t", str(seconds), *(["-c:v", "copy"] if clip else []),
        "-c:a", codec, "-b:a", "128k", str(target),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)


def _write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def add(commands: Any) -> None:
    command = commands.add_parser("recordings", help="make test recordings, no measurement", description=__doc__)
    command.add_argument("corpus", choices=CORPORA, help="meetings: 720p, one microphone; calls: 360p and sound")
    command.add_argument("folder", type=Path, help="empty or new folder")
    command.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.folder.exists() and any(args.folder.iterdir()):
        raise InputError(f"bench recordings: {args.folder}: expected an empty or a new folder")
    parts, flaws = CORPORA[args.corpus]
    manifest = make_recordings(args.folder, parts, flaws)
    return {
        "manifest": str(manifest),
        "sessions": sum(part.sessions for part in parts) + len(flaws),
        "hours": round(sum(part.hours for part in parts), 4),
    }


def show(results: dict[str, Any]) -> None:
    print(f"{results['manifest']}: {results['sessions']} sessions, {60 * results['hours']:.1f} minutes without flaws")
