"""Text and a voice -> samples and word times, from espeak-ng in a child process.

espeak-ng is GPL, so only `python -m pipelines.conversation.voice` loads it (through ctypes), a separate program that
reads requests from its standard input and writes speech to its standard output. Requests and the heads of replies are
JSON, each message preceded by its length as a little-endian 32-bit integer; the samples follow as 16-bit PCM:

    -> {"text": "the boat is red.", "voice": "en-us+f2", "rate_wpm": 165, "pitch": 50, "range": 50}
    <- {"rate_hz": 22050, "words": [[0, 3, 12], ...]}   character position, length, milliseconds from the start
    <- PCM

espeak-ng keeps the state of its noise generators and pitch flutter from one sentence to the next. Equal requests in
equal order to a fresh child give equal samples, so every session uses its own child.
"""

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from wanstreamer.errors import InputError

RATE_HZ = 22050
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class VoiceSpec:
    """One speaker's voice."""

    name: str  # espeak voice and variant, e.g. en-us+f2
    rate_wpm: int  # words per minute; espeak's default is 175
    pitch: int  # 0 to 99, espeak's base pitch
    range: int  # 0 to 99, espeak's pitch range


class Voice:
    """A child process that speaks; a context manager, because the child must be reaped."""

    def __init__(self, seed: int) -> None:
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.conversation.voice", str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment,
        )  # fmt: skip

    def __enter__(self) -> "Voice":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        self._child.wait()

    def say(self, text: str, spec: VoiceSpec, rate_factor: float = 1.0) -> tuple[np.ndarray, list[int]]:
        """Speech of `text`: float32 samples (T,) in [-1, 1] at RATE_HZ, and the start of each word in ms.

        Raises InputError if espeak-ng is not installed, RuntimeError if it fails.
        """
        request = {
            "text": text, "voice": spec.name, "rate_wpm": round(spec.rate_wpm * rate_factor), "pitch": spec.pitch,
            "range": spec.range,
        }  # fmt: skip
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            _send(self._child.stdin, json.dumps(request).encode())
            head = json.loads(_receive(self._child.stdout))
            samples = np.frombuffer(_receive(self._child.stdout), dtype="<i2")
        except (EOFError, BrokenPipeError):
            raise _explain(self._child) from None
        return samples.astype(np.float32) / 32768, [start_ms for _, _, start_ms in head["words"]]


def _explain(child: "subprocess.Popen[bytes]") -> Exception:
    assert child.stderr is not None
    message = child.stderr.read().decode(errors="replace")
    if "ModuleNotFoundError" in message and "espeakng_loader" in message:
        return InputError("espeakng-loader: not installed, but the sample speaks with it; pip install -e '.[sample]'")
    return RuntimeError(f"the voice process ended: {message.strip()[-2000:]}")


def _send(pipe: Any, message: bytes) -> None:
    pipe.write(struct.pack("<I", len(message)) + message)
    pipe.flush()


def _receive(pipe: Any) -> bytes:
    head = pipe.read(4)
    if len(head) < 4:
        raise EOFError
    (size,) = struct.unpack("<I", head)
    message = pipe.read(size)
    if len(message) < size:
        raise EOFError
    return bytes(message)


# espeak's speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8_PHONEMES = 1 | 0x100  # text is UTF-8 and may contain [[phonemes]]
_EVENT_LIST_TERMINATED, _EVENT_WORD = 0, 1
_PARAM_RATE, _PARAM_VOLUME, _PARAM_PITCH, _PARAM_RANGE = 1, 2, 3, 4
_VOLUME = 60  # of 200: some variants clip at the default 100


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _EventId),
    ]  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _load(seed: int) -> Callable[[dict[str, Any]], tuple[list[list[int]], bytes]]:
    """Start espeak-ng in this process; return a function from a request to (words, PCM)."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
    if rate_hz != RATE_HZ:
        raise RuntimeError(f"espeak-ng speaks at {rate_hz} Hz, expected {RATE_HZ}")
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_ng_SetRandSeed(seed)  # otherwise the clock seeds it
    pcm: list[bytes] = []
    words: list[list[int]] = []

    @_Callback
    def collect(wave: Any, num_samples: int, events: Any) -> int:
        if wave and num_samples > 0:
            pcm.append(ctypes.string_at(wave, 2 * num_samples))
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            if events[index].type == _EVENT_WORD:
                words.append([events[index].text_position - 1, events[index].length, events[index].audio_position])
            index += 1
        return 0

    library.espeak_SetSynthCallback(collect)

    def speak(request: dict[str, Any]) -> tuple[list[list[int]], bytes]:
        pcm.clear()
        words.clear()
        if library.espeak_SetVoiceByName(request["voice"].encode()):
            raise RuntimeError(f"espeak-ng has no voice {request['voice']}")
        for parameter, value in (
            (_PARAM_RATE, request["rate_wpm"]), (_PARAM_VOLUME, _VOLUME), (_PARAM_PITCH, request["pitch"]),
            (_PARAM_RANGE, request["range"]),
        ):  # fmt: skip
            library.espeak_SetParameter(parameter, value, 0)
        text = request["text"].encode()
        if library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _CHARS_UTF8_PHONEMES, None, None):
            raise RuntimeError("espeak-ng refused the text")
        return list(words), b"".join(pcm)

    speak.keep = collect  # type: ignore[attr-defined]  # the library has only a bare pointer to it
    return speak


def main() -> None:
    speak = _load(int(sys.argv[1]))
    requests: BinaryIO = sys.stdin.buffer
    replies: BinaryIO = sys.stdout.buffer
    while True:
        try:
            request = json.loads(_receive(requests))
        except EOFError:
            return
        words, pcm = speak(request)
        _send(replies, json.dumps({"rate_hz": RATE_HZ, "words": words}).encode())
        _send(replies, pcm)


if __name__ == "__main__":
    main()
