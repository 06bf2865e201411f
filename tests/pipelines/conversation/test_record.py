"""A media file is complete, or the reason why not is reported; ffmpeg never outlives the recording."""

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.conversation import record
from pipelines.conversation.record import Coding, encode, write_wav
from pipelines.conversation.voice import RATE_HZ
from pipelines.media.probing import probe

CODING = Coding(audio_codec="aac", rate_hz=16000, frame_rate="25", width=160, height=120)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    write_wav(tmp_path / "sound.wav", [np.zeros(4 * RATE_HZ, np.float32)])
    return tmp_path / "sound.wav"


def frames(number: int = 100) -> Iterator[np.ndarray]:
    for _ in range(number):
        yield np.zeros((CODING.height, CODING.width, 3), np.uint8)


def use_command(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    command = folder / "ffmpeg"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(record, "ffmpeg_path", lambda: str(command))


def test_a_finished_file_is_all_that_is_left(tmp_path: Path, sound: Path) -> None:
    encode(tmp_path / "a.mp4", sound, frames(), CODING)
    assert probe(tmp_path / "a.mp4").width == CODING.width
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "sound.wav"]


@pytest.mark.parametrize("pictures", [True, False])
def test_what_ffmpeg_refuses_is_reported_in_its_words(tmp_path: Path, sound: Path, pictures: bool) -> None:
    with pytest.raises(RuntimeError, match=r"could not write a\.mp4: it ended with exit code \d+.*: .*no_such_codec"):
        coding = replace(CODING, audio_codec="no_such_codec")
        encode(tmp_path / "a.mp4", sound, frames() if pictures else None, coding)


@pytest.mark.parametrize("code", [0, 3])
def test_frames_that_ffmpeg_does_not_take_are_an_error_whatever_its_exit_code(
    code: int, tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_command(monkeypatch, tmp_path, f"exec <&-; echo the disk is on fire >&2; sleep 0.3; exit {code}")
    with pytest.raises(RuntimeError, match=f"exit code {code} before it had all frames: the disk is on fire"):
        encode(tmp_path / "a.mp4", sound, frames(), CODING)


def test_a_drawing_that_fails_ends_ffmpeg_and_is_the_error(
    tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_command(monkeypatch, tmp_path, f"echo $$ > {tmp_path}/pid; exec cat > /dev/null")

    def broken() -> Iterator[np.ndarray]:
        yield from frames(3)
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            pass
        raise ZeroDivisionError("a face without a width")

    with pytest.raises(ZeroDivisionError):
        encode(tmp_path / "a.mp4", sound, broken(), CODING)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
