"""Sources -> tracks: constant 25 fps video and mono audio per participant, on one clock, in whole units.

Tracks of a session begin together, at the latest start of its streams (`sessions.origin_ms` on the session's own
clock), and end together, at the earliest end, cut to whole units. From here on time 0 is where the tracks begin.
"""

import hashlib
import json
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import bleed, languages, media, probing, rttm, word_files
from pipelines.files import file_sha256, write_json_atomic
from pipelines.forgotten import digest, forgotten
from pipelines.local_ray import spread
from pipelines.media import conform_video, decode_audio, gate_audio, join_videos, write_wav
from pipelines.probing import Timeline, check_file, probe, timeline
from pipelines.remote import fetch, folder_at, is_remote, settings, stamps, use_settings
from pipelines.rttm import read_rttm
from pipelines.source_row import SourceRow
from pipelines.sources import find_sources
from pipelines.splits import split_of
from pipelines.stage import Job, Rejected, Result, run_keys, stage_main
from pipelines.tables import read_rows, rows_by_session
from pipelines.word_files import BadWords, read_words
from wanstreamer.clock import (
    FRAMES_PER_UNIT,
    UNIT_MS,
    Span,
    intersect_spans,
    merge_spans,
    samples_per_unit,
    whole_units_in_ms,
)
from wanstreamer.errors import InputError

SOURCE_NOTE = "ingest-source.json"  # where the recordings were, for whoever must find them again
SPAN_UNITS = 1875  # 5 minutes: of longer recordings, spans are made side by side
LONGEST_PACKET_MS = 300  # sound that decodes to so much more than its packets hold was started anew on the way
TRUNCATED_MS = 1000  # a stream that ends this much before its container says has lost its end


@dataclass(frozen=True, kw_only=True)
class IngestParams:
    """Where the recordings are and what tracks look like."""

    source: str = ""  # folder or manifest of recordings; empty: the sample in <data>/sources
    layout: str = ""  # of a folder without a manifest: plain, stereo, seamless, candor or ami; empty: recognised
    width: int = 64  # pixels; the tiny scale. 336 x 192 serves the larger ones
    height: int = 48
    rate_hz: int = 16000
    qp: int = 22  # x264 quantiser of the tracks; at 64 x 48 the loss stays below the VAE's
    split_salt: str = "wanstreamer"  # another salt deals the people out anew
    valid_fraction: float = 0.1
    test_fraction: float = 0.2

    def __post_init__(self) -> None:
        if self.width % 16 or self.height % 16 or min(self.width, self.height) < 16:
            raise InputError(
                f"ingest.width x height {self.width} x {self.height}: expected multiples of 16 (the video VAE's step)"
            )
        if self.rate_hz % 25:
            raise InputError(f"ingest.rate_hz {self.rate_hz}: expected a multiple of 25 Hz")
        if not 0 <= self.valid_fraction + self.test_fraction < 1:
            raise InputError(
                "ingest.valid_fraction + test_fraction: expected less than 1, so that something is left to train on"
            )


def session_split(rows: Sequence[SourceRow], params: IngestParams) -> str:
    """The split all known people of a session fall into; a session of unknown people is dealt out by its own id.

    Raises Rejected `split_straddles` when its people fall into different splits.
    """
    names = {row.speaker_id for row in rows if row.speaker_id} or {f"session {rows[0].session_id}"}
    shares = (params.split_salt, params.valid_fraction, params.test_fraction)
    splits = {split_of(name, *shares) for name in names}
    if len(splits) > 1:
        where = " and ".join(sorted(splits))
        raise Rejected("split_straddles", f"its people fall into {where}; see ingest.split_salt and the fractions")
    return splits.pop()


def run(data: Path, params: IngestParams, *, workers: int) -> dict[str, Any]:
    """Ingest every session of the source; see the module's first lines."""
    source = folder_at(params.source) if params.source else data / "sources"
    if not params.source and not source.exists():
        raise InputError(f"{source}: no sample there; run `python -m tools.sample --data {data}` or set ingest.source")
    root, rows = find_sources(source, params.layout)
    root = root.resolve()
    if not is_remote(root):
        _check_crops(root, rows)
    nameless = sum(row.speaker_id is None for row in rows)
    if nameless:
        print(
            f"ingest: warning: {nameless} of {len(rows)} streams have no speaker_id; each counts as a person of its "
            "own, so a person recorded twice may fall into two splits",
            file=sys.stderr,
        )
    write_json_atomic(data / "parts" / SOURCE_NOTE, {"source": str(source.resolve()), "layout": params.layout})
    digests = _Digests(data / "parts" / "ingest-digests.json")
    remote = stamps(root, [name for row in rows for name in _files([row])]) if is_remote(root) else None
    jobs, rejections = [], []
    gone = forgotten(data)
    grouped = rows_by_session([asdict(row) for row in rows])
    for session_id, records in grouped.items():
        session = [SourceRow(**record) for record in records]
        try:
            split = session_split(session, params)
            for row in session:
                if row.speaker_id and digest(row.speaker_id) in gone:
                    raise Rejected("forgotten", f"{row.participant} asked to be forgotten")
                if row.consent is not None and "train" not in row.consent:
                    raise Rejected("no_consent", f"{row.participant} did not agree to training")
            if remote is None:
                inputs = tuple(digests.of(root / name) for name in _files(session))
            else:
                inputs = tuple(_there(name, remote[name]) for name in _files(session))
        except Rejected as rejected:
            rejections.append((session_id, rejected.reason, rejected.detail))
            continue
        jobs.append(Job(key=session_id, spec={"rows": records, "split": split}, inputs=inputs))
    digests.save()
    # Where the source lies and how people are dealt out do not decide a session's tracks: the job says what does.
    looks = {name: getattr(params, name) for name in ("width", "height", "rate_hz", "qp")}
    counts = run_keys(
        data,
        "ingest",
        jobs,
        Ingest,
        params=looks,
        tables=("sessions", "tracks"),
        modules=(sys.modules[__name__], probing, languages, media, bleed, rttm, word_files),
        workers=workers,
        spreads=True,
        setup={"root": str(root), "reach": settings() if is_remote(root) else None, **looks},
        rejections=rejections,
    )
    done = read_rows(data, "sessions")
    if not done:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items())
        example = read_rows(data, "rejections/ingest")[0]
        raise InputError(
            f"{source}: none of {counts['keys'] + len(rejections)} sessions can be used ({reasons}); "
            f"for example {example['key']}: {example['detail']}"
        )
    splits = Counter(row["split"] for row in done)
    return {**counts, "sessions_by_split": dict(sorted(splits.items())), "streams_without_speaker_id": nameless}


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """What a row of the manifest leads to: its picture and its sound, each with the clock of its file."""

    claimed_ms: int  # how long the container says it is; 0: it does not, or the sound lies elsewhere
    picture: Timeline | None
    sound: Timeline | None


class Ingest:
    """Conforms one session: rows of the manifest -> track files and rows of `sessions` and `tracks`."""

    def __init__(
        self, root: str, width: int, height: int, rate_hz: int, qp: int, reach: dict[str, Any] | None = None
    ) -> None:
        if reach:
            use_settings(reach)
        self.source = folder_at(root)
        self.root = self.source  # where the files of the session in work are
        self.width, self.height, self.rate_hz, self.qp = width, height, rate_hz, qp

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        rows = [SourceRow(**_tuples(record)) for record in job.spec["rows"]]
        if is_remote(self.source):
            self.root = scratch / "sources"  # goes with the scratch folder when the session is finished
            _fetch(self.source, rows, job.inputs, self.root)
            _check_crops(self.root, rows)
        recorded = [self._look(row, scratch) for row in rows]
        sounds = [self._decode(row, one, scratch) for row, one in zip(rows, recorded, strict=True)]
        origin_ms = max(row.start_offset_ms for row in rows)
        num_units = whole_units_in_ms(self._end_ms(rows, recorded, sounds) - origin_ms)
        if num_units < 1:
            raise Rejected("too_short", "its streams share less than one unit of 160 ms")

        result = Result(tables={"tracks": []})
        tracks_audio = self._conform_audio(rows, sounds, origin_ms, num_units)
        own = [row.audio_kind == "own" for row in rows]
        bleed_db = bleed.loudest_bleed_db(
            [audio if alone else None for audio, alone in zip(tracks_audio, own, strict=True)], self.rate_hz
        )
        videos = self._conform_videos(rows, recorded, origin_ms, num_units, scratch)
        for row, one, audio, video, level in zip(rows, recorded, tracks_audio, videos, bleed_db, strict=True):
            result.tables["tracks"].append(
                self._track(row, one, audio, video, level, job, origin_ms, num_units, scratch, result)
            )
        first = rows[0]
        session = {
            "session_id": job.key,
            "split": job.spec["split"],
            "layout": _layout(rows, recorded),
            "language": first.language,
            "licence": first.licence,
            "num_participants": len(rows),
            "origin_ms": origin_ms,
            "num_units": num_units,
            "duration_ms": num_units * UNIT_MS,
            "source_sha256": hashlib.sha256(" ".join(job.inputs).encode()).hexdigest(),
        }
        result.tables["sessions"] = [session]
        return result

    def _look(self, row: SourceRow, scratch: Path) -> "_Recorded":
        """Find the streams of a row, and how their clocks run."""
        found = probe(
            self.root / row.uri,
            language=row.language,
            video_stream=row.video_stream,
            audio_stream=None if row.audio_uri else row.audio_stream,
        )
        heard = found
        if row.audio_uri:
            heard = probe(self.root / row.audio_uri, language=row.language, audio_stream=row.audio_stream)
        if not found.has_video and not heard.has_audio:
            raise Rejected("no_streams", f"{row.participant}: neither picture nor sound")
        if heard.has_audio and row.channel is not None and row.channel >= heard.channels:
            raise Rejected("no_such_channel", f"{row.participant}: channel {row.channel} of {heard.channels}")
        picture = timeline(found.source, scratch) if found.has_video else None
        sound = timeline(heard.source, scratch) if heard.has_audio and (row.audio_uri or not picture) else picture
        return _Recorded(
            claimed_ms=0 if row.audio_uri else found.duration_ms,
            picture=picture,
            sound=sound if heard.has_audio else None,
        )

    def _decode(self, row: SourceRow, one: "_Recorded", scratch: Path) -> np.ndarray | None:
        if one.sound is None:
            return None
        # Where the picture has ended, so has the track: timestamps gone astray cannot fill the disk with silence.
        end_ms = one.picture.video_end_ms if one.picture else None
        return decode_audio(one.sound.source, self.rate_hz, row.channel, scratch, end_ms=end_ms)

    def _end_ms(
        self, rows: Sequence[SourceRow], recorded: Sequence["_Recorded"], sounds: Sequence[np.ndarray | None]
    ) -> int:
        """Where the first stream of the session ends, on the session's clock."""
        ends = []
        for row, one, audio in zip(rows, recorded, sounds, strict=True):
            lengths = []
            if one.picture:
                lengths.append(one.picture.video_end_ms or 0)
            if one.sound and audio is not None:
                lengths.append(len(audio) * 1000 // self.rate_hz)
                held_ms = min(one.sound.audio_end_ms or 0, *lengths[:-1], lengths[-1])
                if lengths[-1] > held_ms + LONGEST_PACKET_MS:
                    raise Rejected(
                        "changes_format", f"{row.participant}: sample rate or channels change, or its sound is damaged"
                    )
            if min(lengths) < one.claimed_ms - TRUNCATED_MS:
                raise Rejected("truncated", f"{row.participant}: {min(lengths)} of {one.claimed_ms} ms")
            ends.append(row.start_offset_ms + min(lengths))
        return min(ends)

    def _conform_audio(
        self, rows: Sequence[SourceRow], sounds: Sequence[np.ndarray | None], origin_ms: int, num_units: int
    ) -> list[np.ndarray | None]:
        num_samples = num_units * samples_per_unit(self.rate_hz)
        tracks: list[np.ndarray | None] = []
        for row, sound in zip(rows, sounds, strict=True):
            if sound is None:
                tracks.append(None)
                continue
            skip = (origin_ms - row.start_offset_ms) * self.rate_hz // 1000
            audio = sound[skip : skip + num_samples]
            if len(audio) < num_samples:  # the last, partial millisecond
                audio = np.pad(audio, (0, num_samples - len(audio)))
            if row.rttm_uri:
                audio = gate_audio(
                    audio, self._rttm_spans(row, origin_ms).get(row.rttm_speaker or "", []), self.rate_hz
                )
            tracks.append(audio)
        return tracks

    def _rttm_spans(self, row: SourceRow, origin_ms: int) -> dict[str, list[Span]]:
        """Everybody's speech on the tracks' clock."""
        shift = row.start_offset_ms - origin_ms
        try:
            found = read_rttm(self.root / str(row.rttm_uri))
        except InputError as error:
            raise Rejected("bad_rttm", str(error)) from error
        if row.rttm_speaker not in found:
            raise Rejected("bad_rttm", f"{row.rttm_uri}: no speaker {row.rttm_speaker}; it has {', '.join(found)}")
        return {name: [Span(max(0, s + shift), max(0, e + shift)) for s, e in spans] for name, spans in found.items()}

    def _mixed_spans(self, row: SourceRow, origin_ms: int, num_units: int) -> list[Span]:
        """Where the track's sound holds more than one participant."""
        whole = Span(0, num_units * UNIT_MS)
        if row.audio_kind == "own":
            return []
        if not row.rttm_uri:
            return [whole]
        spans = self._rttm_spans(row, origin_ms)
        own = merge_spans(spans[row.rttm_speaker or ""])
        others = merge_spans(span for name, theirs in spans.items() if name != row.rttm_speaker for span in theirs)
        return intersect_spans([whole], intersect_spans(own, others))

    def _conform_videos(
        self, rows: Sequence[SourceRow], recorded: Sequence["_Recorded"], origin_ms: int, num_units: int, scratch: Path
    ) -> list[Path | None]:
        """A video per row that has a picture; those of long recordings in spans, side by side where cores are idle."""
        videos: list[Path | None] = []
        calls, pieces = [], []
        for row, one in zip(rows, recorded, strict=True):
            if not one.picture:
                videos.append(None)
                continue
            video = scratch / f"{row.participant}.mp4"
            videos.append(video)
            shift_ms = row.start_offset_ms - origin_ms
            spans = list(video_spans(one.picture, shift_ms, num_units))
            names = [scratch / f"{row.participant}.{number}.mp4" for number in range(len(spans))]
            for name, (first_unit, last_unit, seek_ms) in zip(names, spans, strict=True):
                calls.append(
                    partial(
                        conform_video,
                        one.picture.source,
                        name,
                        lead_ms=shift_ms,
                        first_frame=first_unit * FRAMES_PER_UNIT,
                        num_frames=(last_unit - first_unit) * FRAMES_PER_UNIT,
                        seek_ms=seek_ms,
                        width=self.width,
                        height=self.height,
                        crop=row.crop,
                        qp=self.qp,
                    )
                )
            pieces.append((video, names))
        if len(calls) > len(pieces):
            spread(calls)
        else:
            for call in calls:
                call()
        for video, names in pieces:
            if len(names) == 1:
                names[0].replace(video)
            else:
                join_videos(names, video)
        return videos

    def _track(
        self,
        row: SourceRow,
        one: "_Recorded",
        audio: np.ndarray | None,
        video: Path | None,
        bleed_db: float | None,
        job: Job,
        origin_ms: int,
        num_units: int,
        scratch: Path,
        result: Result,
    ) -> dict[str, Any]:
        video_path = audio_path = None
        shift_ms = row.start_offset_ms - origin_ms
        if video is not None:
            video_path = self._file(job.key, row, "mp4", scratch, result)
        if audio is not None:
            audio_path = self._file(job.key, row, "wav", scratch, result)
            write_wav(result.files[audio_path], audio, self.rate_hz)
        words_path = self._words(job.key, row, origin_ms, num_units, scratch, result)
        mixed = self._mixed_spans(row, origin_ms, num_units) if audio is not None else []
        return {
            "session_id": job.key,
            "participant": row.participant,
            "speaker_id": row.speaker_id or f"{job.key}-{row.participant}",
            "split": job.spec["split"],
            "licence": row.licence,
            "consent": list(row.consent) if row.consent is not None else None,
            "partners": list(row.partners) if row.partners is not None else None,
            "language": row.language,
            "num_units": num_units,
            "video_path": video_path,
            "video_sha256": file_sha256(result.files[video_path]) if video_path else None,
            "width": self.width if video_path else None,
            "height": self.height if video_path else None,
            "audio_path": audio_path,
            "audio_sha256": file_sha256(result.files[audio_path]) if audio_path else None,
            "rate_hz": self.rate_hz if audio_path else None,
            "words_path": words_path,
            "words_sha256": file_sha256(result.files[words_path]) if words_path else None,
            "mixed": [span._asdict() for span in mixed],
            "attributed": row.audio_kind == "own" or row.rttm_uri is not None,
            "bleed_db": bleed_db,
            "audio_filled_ms": _within_ms(one.sound.audio_gaps, shift_ms, num_units) if one.sound else None,
            "audio_cut_ms": one.sound.audio_cut_ms if one.sound else None,
            "video_held_ms": _within_ms(one.picture.video_holds, shift_ms, num_units) if one.picture else None,
            "clock_joins": max(clock.joins for clock in (one.picture, one.sound) if clock),
        }

    def _file(self, session_id: str, row: SourceRow, suffix: str, scratch: Path, result: Result) -> str:
        name = f"tracks/{session_id}/{row.participant}.{suffix}"
        result.files[name] = scratch / f"{row.participant}.{suffix}"
        return name

    def _words(
        self, session_id: str, row: SourceRow, origin_ms: int, num_units: int, scratch: Path, result: Result
    ) -> str | None:
        """The word sidecar, on the tracks' clock; words outside the tracks are turned away."""
        if not row.words_uri:
            return None
        key, shift = f"{session_id}/{row.participant}", row.start_offset_ms - origin_ms
        try:
            given, untimed = read_words(self.root / row.words_uri, row.channel)
        except FileNotFoundError:
            result.rejections.append((key, "missing_file", row.words_uri))
            return None
        except BadWords as error:
            result.rejections.append((key, "bad_words", f"{row.words_uri}: {error}"))
            return None
        result.rejections += [(key, "word_without_time", "")] * untimed
        words = [{**word, "start_ms": word["start_ms"] + shift, "end_ms": word["end_ms"] + shift} for word in given]
        inside = [word for word in words if word["start_ms"] < num_units * UNIT_MS and word["end_ms"] > 0]
        result.rejections += [(key, "word_outside_track", "")] * (len(words) - len(inside))
        name = self._file(session_id, row, "words.json", scratch, result)
        write_json_atomic(result.files[name], {"words": inside})
        return name


def _tuples(record: dict[str, Any]) -> dict[str, Any]:
    """A row that travelled as JSON, with its lists as tuples again."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}


def video_spans(picture: Timeline, shift_ms: int, num_units: int) -> Iterator[tuple[int, int, int | None]]:
    """First and last unit of the spans a track's video is made in, and the media time to seek to.

    None: from the beginning. A span begins where fresh frames come, and is decoded from the keyframe before the last
    one that precedes it: what is decoded from there on is what a decoder that read all would show.
    """
    holds = [Span(start + shift_ms, end + shift_ms) for start, end in picture.video_holds]
    keys_ms = sorted(picture.video_keys_ms)
    first, seek_ms = 0, None
    for unit in range(SPAN_UNITS, num_units - SPAN_UNITS // 2, SPAN_UNITS):
        begin_ms = unit * UNIT_MS
        before = bisect_left(keys_ms, begin_ms - shift_ms - UNIT_MS)
        if before < 2 or any(start - UNIT_MS <= begin_ms <= end + UNIT_MS for start, end in holds):
            continue
        yield first, unit, seek_ms
        first, seek_ms = unit, keys_ms[before - 2] + 1
    yield first, num_units, seek_ms


def _within_ms(spans: Sequence[Span], shift_ms: int, num_units: int) -> int:
    """How much of a file's `spans` lies within the tracks."""
    moved = [Span(start + shift_ms, end + shift_ms) for start, end in spans]
    return sum(end - start for start, end in intersect_spans([Span(0, num_units * UNIT_MS)], moved))


def _layout(rows: Sequence[SourceRow], recorded: Sequence[_Recorded]) -> str:
    if not any(one.picture for one in recorded):
        return "mixed" if any(row.audio_kind == "shared" for row in rows) else "audio_only"
    if any(row.crop for row in rows):
        return "split_screen"
    return "mixed" if any(row.audio_kind == "shared" for row in rows) else "per_participant"


def _files(rows: Sequence[SourceRow]) -> list[str]:
    named = [name for row in rows for name in (row.uri, row.audio_uri, row.words_uri, row.rttm_uri) if name]
    return sorted(set(named))


def _there(name: str, stamp: str | None) -> str:
    if stamp is None:
        raise Rejected("missing_file", name)
    return stamp


def _fetch(source: Path, rows: Sequence[SourceRow], inputs: Sequence[str], folder: Path) -> None:
    """The files of a session, as they were when the run began."""
    names = _files(rows)
    try:
        found = fetch(source, names, folder)
    except FileNotFoundError as error:
        raise Rejected("missing_file", str(error)) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Rejected("not_a_file", "one name is a file and a folder of others; no disk can hold both") from error
    changed = [name for name, stamp in zip(names, inputs, strict=True) if found[name] != stamp]
    if changed:
        raise Rejected("changed_file", f"{changed[0]} was written during the run; run again")


def _check_crops(root: Path, rows: Sequence[SourceRow]) -> None:
    """A crop outside the frame is the manifest's mistake: said before any work.

    Unreadable files are left to the work.
    """
    for row in rows:
        if row.crop is None:
            continue
        try:
            found = probe(root / row.uri, video_stream=row.video_stream)
        except Rejected:
            continue
        x, y, width, height = row.crop
        if x + width > found.width or y + height > found.height:
            raise InputError(
                f"{row.session_id}/{row.participant}: crop {x}:{y}:{width}:{height} reaches outside the "
                f"{found.width}x{found.height} frame of {row.uri}; mend it in the manifest"
            )


class _Digests:
    """sha256 of source files, remembered by size and modification time: hours of video are not read at each run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, list[Any]] = json.loads(path.read_text()) if path.is_file() else {}
        self.used: dict[str, list[Any]] = {}

    def of(self, file: Path) -> str:
        check_file(file)
        state = file.stat()
        entry = self.known.get(str(file))
        if entry is None or entry[:2] != [state.st_size, state.st_mtime_ns]:
            entry = [state.st_size, state.st_mtime_ns, file_sha256(file)]
        self.used[str(file)] = entry
        return entry[2]

    def save(self) -> None:
        write_json_atomic(self.path, self.used)


def main() -> None:
    stage_main("ingest", IngestParams, run)


if __name__ == "__main__":
    main()
