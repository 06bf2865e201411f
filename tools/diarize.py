"""Write an RTTM file next to each mixed recording, for ingest: `python -m tools.diarize call.wav --model DIR`.

The model does not know which person a voice belongs to: ingest names the voices a, b, ... in the order of their first
words. To assign them to people, list the recording in a manifest with `audio_kind: shared`, `rttm_uri` and, per
participant, `rttm_speaker` as in the RTTM. Check the RTTM first: the windows are only as good as it is.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.files import write_bytes_atomic
from pipelines.engine.jobs import Rejected
from pipelines.media.cancelling import decode_mixed
from pipelines.media.probing import probe
from pipelines.media.timelines import timeline
from pipelines.signals.diarization import diarize, load_diarizer
from pipelines.signals.voice_activity import RATE_HZ
from tools.exchange.intervals import SPEECH, Interval
from tools.exchange.lines import write_rttm
from wanstreamer.clock import Span
from wanstreamer.errors import InputError


def write_rttms(recordings: Sequence[Path], model: Path, *, speakers: int | None, force: bool) -> None:
    """Write an RTTM next to each recording, on the clock of its file, and print a line for each.

    Raises InputError before anything is written if a recording or the model is missing or an RTTM exists already, and
    at the end for recordings that cannot be read or have no speech.
    """
    for path in recordings:
        if not path.is_file():
            raise InputError(f"{path}: no such recording")
        if path.with_suffix(".rttm").exists() and not force:
            raise InputError(f"{path.with_suffix('.rttm')}: exists already; pass --force to replace it")
    pipeline = load_diarizer(model, "--model")
    useless: list[str] = []
    for path in recordings:
        try:
            voices = diarize(pipeline, sound_of(path), speakers)
            if not voices:
                raise Rejected("no_speech", f"{path.name}: no speech in it")
        except Rejected as rejected:
            useless.append(rejected.detail)
            continue
        write_bytes_atomic(path.with_suffix(".rttm"), rttm_of(path.stem, voices).encode())
        speech_s = sum(span.duration_ms for spans in voices.values() for span in spans) / 1000
        print(f"{path.with_suffix('.rttm')}: {len(voices)} voices, {speech_s:.1f} s of speech")
    if useless:
        raise InputError(f"no RTTM written for {len(useless)} of {len(recordings)} recordings: {'; '.join(useless)}")


def sound_of(recording: Path) -> np.ndarray:
    """float32 (num_samples,) at 16 kHz, channels mixed, on the clock of the file. Raises Rejected as ingest does."""
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # the samples stay readable after it is deleted: their file has no name
        source = probe(recording).source
        if source.audio is None:
            raise Rejected("no_audio", f"{recording.name}: no audio stream")
        return decode_mixed(timeline(source, Path(scratch)).source, RATE_HZ, Path(scratch)).samples_T


def rttm_of(recording: str, voices: Mapping[str, Sequence[Span]]) -> str:
    """RTTM lines, in order of onset."""
    intervals = [
        Interval(session_id=recording, participant=voice, kind=SPEECH, start_ms=start_ms, end_ms=end_ms)
        for voice, spans in voices.items()
        for start_ms, end_ms in spans
    ]
    return write_rttm(sorted(intervals, key=lambda interval: (interval.start_ms, interval.participant)))[0]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.diarize", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help="any file that ffmpeg reads")
    parser.add_argument("--model", type=Path, default=Path(), help="folder with pyannote's diarization pipeline")
    parser.add_argument("--speakers", type=int, help="how many people speak, if known (default: the model decides)")
    parser.add_argument("--force", action="store_true", help="replace existing RTTM files")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.speakers is not None and args.speakers < 1:
            raise InputError(f"--speakers {args.speakers}: expected 1 or more")
        write_rttms(args.recordings, args.model, speakers=args.speakers, force=args.force)


if __name__ == "__main__":
    main()
