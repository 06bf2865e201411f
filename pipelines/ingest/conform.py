"""Manifest rows of one session -> its tracks: the work of one worker of the ingest stage.

The tracks of a session begin together, when the last of its streams starts (`sessions.origin_ms` on the session's own
clock), and end together, when the first of its streams ends, cut to whole units. From here on, time 0 is the beginning
of the tracks.
"""

import hashlib
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.buckets import track_folder
from pipelines.engine.files import file_sha256, hash_of
from pipelines.engine.jobs import Job, Rejected, Result
from pipelines.engine.remote import folder_at, is_remote_uri, use_settings
from pipelines.engine.tables import session_rows
from pipelines.formats.word_files import BadWords, read_words
from pipelines.ingest.clocks import FileClock, RowClocks, common_span, stated_clocks
from pipelines.ingest.filling import filled_lengths, with_held_end, with_silent_end
from pipelines.ingest.found import FoundPerson, found_people
from pipelines.ingest.framing import fit_picture, fitted_columns
from pipelines.ingest.origins import picture_origin, sound_origin, spans_within
from pipelines.ingest.recorders import (
    clock_facts,
    clock_rejections,
    compare_recorders,
    corrected_clocks,
    has_camera_sound,
)
from pipelines.ingest.videos import Shown, fitted_path, make_videos
from pipelines.ingest.whose_speech import mixed_spans, own_speech
from pipelines.media.cancelling import Mix, decode_mixed, without_cancelling
from pipelines.media.claims import cut_off
from pipelines.media.ffmpeg import DecodedAudio, decode_with_damage
from pipelines.media.framing import Rect
from pipelines.media.probing import probe
from pipelines.media.retiming import retimed
from pipelines.media.timelines import Timeline, timeline
from pipelines.media.tracks import gate_audio, write_wav
from pipelines.sources.row import SourceRow, default_speaker, row_from_json
from pipelines.sources.session_files import check_crops, fetch_files, files_of
from wanstreamer.clock import (
    UNIT_MS,
    Span,
    samples_per_unit,
    whole_units_in_ms,
)
from wanstreamer.errors import InputError

LONGEST_PACKET_MS = 300  # sound that decodes to this much more than its packets contain changed its format on the way


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """The video and audio of a manifest row, each with the clock of its file."""

    picture: Timeline | None
    size: tuple[int, int]  # width and height of the displayed picture
    sound: Timeline | None
    streams: tuple[int | None, int | None]  # of the picture and the sound, among all streams of their files
    empty: tuple[str, ...] = ()  # of `video` and `audio`: a stream of the file without any packet


class Conform:
    """Conforms one session: rows of the manifest -> track files and rows of `sessions` and `tracks`."""

    def __init__(
        self,
        root: str,
        width: int,
        height: int,
        rate_hz: int,
        qp: int,
        fit: str,
        align_recorders: bool = False,
        reach: dict[str, Any] | None = None,
    ) -> None:
        if reach:
            use_settings(reach)
        self.source = folder_at(root)
        if not is_remote_uri(self.source) and not self.source.is_dir():
            raise InputError(
                f"{root}: the worker on {socket.gethostname()} does not have this folder; expected ingest.source on a "
                "file system that all machines share, or in a bucket (s3://bucket/recordings)"
            )
        self.root = self.source  # folder with the files of the current session
        self.width, self.height, self.rate_hz, self.qp, self.fit = width, height, rate_hz, qp, fit
        self.align_recorders = align_recorders

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        rows = [row_from_json(record) for record in job.spec["rows"]]
        contents = job.inputs[:-1] if job.spec.get("found") else job.inputs  # the last one is of what was found
        if is_remote_uri(self.source):
            self.root = scratch / "sources"  # deleted with the scratch folder at the end of the session
            fetch_files(self.source, rows, contents, self.root)
            check_crops(self.root, rows)
        found: dict[str, FoundPerson] = {}
        if job.spec.get("found"):
            rows, found = found_people(rows[0], session_rows(data, "people", job.key))
        persons = [found.get(row.participant) for row in rows]
        recorded = [self._look(row, person, scratch) for row, person in zip(rows, persons, strict=True)]
        clocks = stated = [stated_clocks(row) for row in rows]
        decoded = [self._decode(*each, scratch) for each in zip(rows, recorded, clocks, strict=True)]
        sounds = [sound.samples_T if sound else None for sound in decoded]
        mixes = [self._mix(*each, scratch) for each in zip(rows, recorded, sounds, strict=True)]
        sounds = [mix.samples_T if mix else None for mix in mixes]
        comparisons = compare_recorders(
            rows, clocks, sounds, self._camera_sounds(rows, recorded, scratch), self.rate_hz
        )
        if self.align_recorders:
            clocks = corrected_clocks(rows, stated, comparisons)
        facts = clock_facts(rows, stated, clocks, comparisons)
        lengths = [self._lengths_ms(*each) for each in zip(rows, recorded, clocks, sounds, strict=True)]
        origin_ms, num_units = units_in_common([stream for streams in lengths for stream in streams])
        recorded = [self._filled(*each) for each in zip(recorded, sounds, lengths, strict=True)]
        clocks = [clock.since(origin_ms) for clock in clocks]
        result = Result(tables={"tracks": [], "sources": [], "sidecar_words": []})
        result.rejections += clock_rejections(job.key, comparisons, self.align_recorders)
        for row, recording, sound in zip(rows, recorded, decoded, strict=True):
            key = f"{job.key}/{row.participant}"
            result.rejections += [(key, "empty_stream", f"{name}: no packets") for name in recording.empty]
            if sound and sound.num_damaged:
                result.rejections += [(key, "damaged_sound", sound.complaint)] * sound.num_damaged
        tracks_audio = self._conform_audio(rows, persons, clocks, sounds, num_units, scratch)
        shown = [
            self._shown(*each, num_units)
            for each in zip(rows, persons, recorded, clocks, strict=True)
            if each[2].picture
        ]
        videos = make_videos(shown, num_units, (self.width, self.height), self.qp, scratch)
        for participant, video in videos.items():
            key = f"{job.key}/{participant}"
            result.rejections += [(key, "damaged_picture", complaint) for complaint in video.damages]
        hashes = dict(zip(files_of(rows), contents, strict=True))
        pictures = {each.participant: each for each in shown}
        for row, person, recording, clock, mix, audio, sound in zip(
            rows, persons, recorded, clocks, mixes, tracks_audio, decoded, strict=True
        ):
            picture, made = pictures.get(row.participant), videos.get(row.participant)
            track = self._track(row, person, recording, clock, audio, job, num_units, scratch, result)
            visible = made.visible if made else None
            track["visible"] = None if visible is None else [span._asdict() for span in visible]
            cancelled = mix.cancelled if mix else ()
            track["audio_cancel_ms"] = _within_ms(cancelled, clock.sound, num_units) if mix else None
            if recording.sound and sound:
                track["audio_filled_ms"] += round(sound.num_damaged * recording.sound.audio_packet_ms)
            fit = fitted_columns(picture.fitted if picture else None)
            result.tables["tracks"].append(track | fit | facts[row.participant])
            speech = own_speech(self.root, row, person, clock.sound) if recording.sound else None
            origin = picture_origin(row, picture, recording.streams[0], hashes, num_units)
            origin |= sound_origin(
                row, recording.sound, recording.streams[1], clock, cancelled, speech, hashes, num_units
            )
            ids = {"session_id": job.key, "participant": row.participant}
            result.tables["sources"].append(ids | origin)
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
            "source_sha256": hashlib.sha256(" ".join(contents).encode()).hexdigest(),
        }
        result.tables["sessions"] = [session]
        return result

    def _look(self, row: SourceRow, person: FoundPerson | None, scratch: Path) -> "_Recorded":
        """Find the streams of a row, and read their clocks. Of a person who was found off screen, only the sound."""
        picture_probe = probe(
            self.root / row.uri,
            language=row.language,
            video_stream=row.video_stream,
            audio_stream=None if row.audio_uri else row.audio_stream,
        )
        sound_probe = picture_probe
        if row.audio_uri:
            sound_probe = probe(self.root / row.audio_uri, language=row.language, audio_stream=row.audio_stream)
        check_streams(row, has_video=picture_probe.has_video, channels=sound_probe.channels)
        is_shown = picture_probe.has_video and not (person and person.path is None)
        picture = timeline(picture_probe.source, scratch) if is_shown else None
        sound = (
            timeline(sound_probe.source, scratch)
            if sound_probe.has_audio and (row.audio_uri or not picture)
            else picture
        )
        sound = sound if sound_probe.has_audio else None
        for media, clock in ((picture_probe, picture), (sound_probe, sound)):
            if clock and (missing := cut_off(media.claims, clock.reached)):
                raise Rejected("truncated", f"{row.participant}: {media.source.path.name}: {missing}")
        recording = _Recorded(
            picture=picture,
            size=(picture_probe.width, picture_probe.height),
            sound=sound,
            streams=(picture_probe.source.video, sound_probe.source.audio),
        )
        if picture and not _has_packets(row, "video", picture.video_end_ms, picture_probe.claims.video_ms):
            recording = replace(recording, picture=None, empty=(*recording.empty, "video"))
        if sound and not _has_packets(row, "audio", sound.audio_end_ms, sound_probe.claims.audio_ms):
            recording = replace(recording, sound=None, empty=(*recording.empty, "audio"))
        if not recording.picture and not recording.sound:
            raise Rejected("no_streams", f"{row.participant}: no packets of {' or '.join(recording.empty)}")
        return recording

    def _decode(self, row: SourceRow, recording: "_Recorded", clocks: RowClocks, scratch: Path) -> DecodedAudio | None:
        if recording.sound is None:
            return None
        # The sound ends where packets do: wrong timestamps cannot fill the disk with silence. What is longer by more
        # than LONGEST_PACKET_MS is found below.
        end_ms = (recording.sound.audio_end_ms or 0) + 2 * LONGEST_PACKET_MS
        if recording.picture:
            picture_end_ms = clocks.sound.media_ms(clocks.picture.time_ms(recording.picture.video_end_ms or 0))
            if picture_end_ms <= 0 and not has_camera_sound(row, recording.picture):
                raise Rejected("too_short", f"{row.participant}: its sound begins after the end of its picture")
            end_ms = max(end_ms, ceil(picture_end_ms))
        return decode_with_damage(recording.sound.source, self.rate_hz, row.channel, scratch, end_ms=end_ms)

    def _mix(self, row: SourceRow, recording: "_Recorded", sound: np.ndarray | None, scratch: Path) -> Mix | None:
        """The sound of a row, repaired where its channels cancel; None without sound."""
        if recording.sound is None or sound is None:
            return None
        if row.channel is not None:
            return Mix(sound, ())
        return without_cancelling(recording.sound.source, sound, self.rate_hz, scratch)

    def _camera_sounds(
        self, rows: Sequence[SourceRow], recorded: Sequence["_Recorded"], scratch: Path
    ) -> dict[str, np.ndarray]:
        """The sound of cameras whose rows take theirs from a recorder, by `uri`; without those that cannot be read."""
        sounds: dict[str, np.ndarray] = {}
        for row, recording in zip(rows, recorded, strict=True):
            if row.uri not in sounds and recording.picture and has_camera_sound(row, recording.picture):
                end_ms = recording.picture.video_end_ms
                with suppress(Rejected):
                    camera = decode_mixed(recording.picture.source, self.rate_hz, scratch, end_ms=end_ms)
                    sounds[row.uri] = camera.samples_T
        return sounds

    def _lengths_ms(
        self, row: SourceRow, recording: "_Recorded", clocks: RowClocks, audio: np.ndarray | None
    ) -> list[tuple[FileClock, int]]:
        """How long each stream of a row is in its track, from the start of its file, with the clock of its file."""
        lengths = []
        if recording.picture:
            lengths.append((clocks.picture, recording.picture.video_end_ms or 0))
        if recording.sound and audio is not None:
            heard_ms = self._heard_ms(audio)
            if heard_ms > (recording.sound.audio_end_ms or 0) + LONGEST_PACKET_MS:
                raise Rejected(
                    "changes_format", f"{row.participant}: sample rate or channels change, or the audio is damaged"
                )
            lengths.append((clocks.sound, heard_ms))
        return filled_lengths(lengths)

    def _heard_ms(self, audio: np.ndarray) -> int:
        return len(audio) * 1000 // self.rate_hz

    def _filled(
        self, recording: "_Recorded", audio: np.ndarray | None, lengths: Sequence[tuple[FileClock, int]]
    ) -> "_Recorded":
        """The row with what is filled at the ends of its streams."""
        picture, sound = recording.picture, recording.sound
        if picture:
            picture = with_held_end(picture, lengths[0][1])
        if sound and audio is not None:
            sound = with_silent_end(sound, self._heard_ms(audio), lengths[-1][1])
        return replace(recording, picture=picture, sound=sound)

    def _conform_audio(
        self,
        rows: Sequence[SourceRow],
        persons: Sequence[FoundPerson | None],
        clocks: Sequence[RowClocks],
        sounds: Sequence[np.ndarray | None],
        num_units: int,
        scratch: Path,
    ) -> list[np.ndarray | None]:
        num_samples = num_units * samples_per_unit(self.rate_hz)
        tracks: list[np.ndarray | None] = []
        for row, person, clock, sound in zip(rows, persons, clocks, sounds, strict=True):
            if sound is None:
                tracks.append(None)
                continue
            if clock.sound.rate == 1:
                skip = int(clock.sound.media_ms(0) * self.rate_hz // 1000)
                audio = sound[skip : skip + num_samples]
            else:
                first = clock.sound.media_ms(0) * self.rate_hz / 1000
                audio = retimed(sound, first, 1 / clock.sound.rate, num_samples, scratch)
            if len(audio) < num_samples:  # the picture goes on, or less than a millisecond is missing
                audio = np.pad(audio, (0, num_samples - len(audio)))
            speech = own_speech(self.root, row, person, clock.sound)
            tracks.append(audio if speech is None else gate_audio(audio, speech, self.rate_hz, scratch))
        return tracks

    def _shown(
        self, row: SourceRow, person: FoundPerson | None, recording: "_Recorded", clocks: RowClocks, num_units: int
    ) -> Shown:
        """How the picture of a row becomes a video."""
        assert recording.picture is not None
        path = person.path if person else None
        if path is not None:
            fitted = fitted_path(path, (self.width, self.height))
        else:
            fitted = fit_picture(
                recording.picture.source,
                recording.size,
                Rect(*row.crop) if row.crop else None,
                (self.width, self.height),
                cut=self.fit == "cut",
                begin_ms=round(clocks.picture.media_ms(0)),
                end_ms=round(clocks.picture.media_ms(num_units * UNIT_MS)),
            )
        return Shown(
            participant=row.participant, picture=recording.picture, size=recording.size, clock=clocks.picture,
            fitted=fitted, crop=row.crop, path=path,
        )  # fmt: skip

    def _track(
        self,
        row: SourceRow,
        person: FoundPerson | None,
        recording: "_Recorded",
        clocks: RowClocks,
        audio: np.ndarray | None,
        job: Job,
        num_units: int,
        scratch: Path,
        result: Result,
    ) -> dict[str, Any]:
        video_path = audio_path = None
        if recording.picture:
            video_path = self._file(job.key, row, "mp4", scratch, result)
        if audio is not None:
            audio_path = self._file(job.key, row, "wav", scratch, result)
            write_wav(result.files[audio_path], audio, self.rate_hz)
        words = self._words(job.key, row, clocks.picture if audio is None else clocks.sound, num_units, result)
        mixed = mixed_spans(self.root, row, person, clocks.sound, num_units) if audio is not None else []
        return {
            "session_id": job.key,
            "participant": row.participant,
            "speaker_id": row.speaker_id or default_speaker(job.key, row.participant),
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
            "words_sha256": hash_of(words) if words is not None else None,
            "mixed": [span._asdict() for span in mixed],
            "attributed": row.audio_kind == "own" or row.rttm_uri is not None or person is not None,
            "audio_filled_ms": _within_ms(recording.sound.audio_gaps, clocks.sound, num_units)
            if recording.sound
            else None,
            "audio_cut_ms": recording.sound.audio_cut_ms if recording.sound else None,
            "video_held_ms": _within_ms(recording.picture.video_holds, clocks.picture, num_units)
            if recording.picture
            else None,
            "clock_joins": max(clock.joins for clock in (recording.picture, recording.sound) if clock),
        }

    def _file(self, session_id: str, row: SourceRow, suffix: str, scratch: Path, result: Result) -> str:
        name = f"tracks/{track_folder(session_id)}/{session_id}.{row.participant}.{suffix}"
        result.files[name] = scratch / f"{row.participant}.{suffix}"
        return name

    def _words(
        self, session_id: str, row: SourceRow, clock: FileClock, num_units: int, result: Result
    ) -> list[dict[str, Any]] | None:
        """Add the words on the tracks' clock to the result; words outside the tracks are rejected."""
        if not row.words_uri:
            return None
        key = f"{session_id}/{row.participant}"
        try:
            timed, untimed = read_words(self.root / row.words_uri, row.channel)
        except FileNotFoundError:
            result.rejections.append((key, "missing_file", row.words_uri))
            return None
        except BadWords as error:
            result.rejections.append((key, "bad_words", f"{row.words_uri}: {error}"))
            return None
        result.rejections += [(key, "word_without_time", "")] * untimed
        moved = [
            {**word, **{name: round(clock.time_ms(word[name])) for name in ("start_ms", "end_ms")}} for word in timed
        ]
        inside = [word for word in moved if word["start_ms"] < num_units * UNIT_MS and word["end_ms"] > 0]
        result.rejections += [(key, "word_outside_track", "")] * (len(moved) - len(inside))
        ids = {"session_id": session_id, "participant": row.participant}
        words = [{**ids, "index": index, **word} for index, word in enumerate(inside)]
        result.tables["sidecar_words"] += words
        return words


def _has_packets(row: SourceRow, name: str, end_ms: int | None, claimed_ms: int) -> bool:
    """False for a stream without packets, as of a camera that was never on.

    Raises Rejected `truncated` if its header states that there are packets.
    """
    if end_ms is None and claimed_ms:
        raise Rejected("truncated", f"{row.participant}: {name} 0 of {claimed_ms} ms")
    return end_ms is not None


def check_streams(row: SourceRow, *, has_video: bool, channels: int) -> None:
    """Raises Rejected for a row without any stream, or without its channel. `channels`: of its audio; 0 without."""
    if not has_video and not channels:
        raise Rejected("no_streams", f"{row.participant}: no video and no audio")
    if channels and row.channel is not None and row.channel >= channels:
        raise Rejected("no_such_channel", f"{row.participant}: channel {row.channel} of {channels}")


def units_in_common(streams: Sequence[tuple[FileClock, int]]) -> tuple[int, int]:
    """When the tracks of a session begin, on the session's clock, and their length in units.

    `streams`: all of the session, each with the clock of its file and its length in ms. Raises Rejected `too_short`.
    """
    span = common_span(streams)
    num_units = whole_units_in_ms(span.duration_ms)
    if num_units < 1:
        raise Rejected("too_short", "its streams have less than one unit of 160 ms in common")
    return span.start_ms, num_units


def _within_ms(spans: Sequence[Span], clock: FileClock, num_units: int) -> int:
    """Total time of a file's `spans` within the tracks."""
    return sum(span.duration_ms for span in spans_within(spans, clock, num_units))


def _layout(rows: Sequence[SourceRow], recorded: Sequence[_Recorded]) -> str:
    if not any(recording.picture for recording in recorded):
        return "mixed" if any(row.audio_kind == "shared" for row in rows) else "audio_only"
    if any(row.crop for row in rows):
        return "split_screen"
    return "mixed" if any(row.audio_kind == "shared" for row in rows) else "per_participant"
