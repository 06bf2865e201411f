"""Tracks + word sidecars -> speech, words, IPUs, turns, events and unit labels: who spoke when, and what happened.

Per session: first whose voice is in which track (bleed.py, separation.py) and the voice activity of each track
(speech_models.py, voice_activity.py); then the words, read from sidecars, checked and sorted, or transcribed by
Whisper (transcription.py); then the turn rules (wanstreamer.turns); then the labels of every 160 ms unit, shared by
trainer and evaluator. Speech in a shared mix, or in tracks that hold the same sound, cannot be attributed to a
participant: there is no speech and nothing to learn from in such units, and the session goes on.
"""

import sys
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from pipelines.annotate.corrected import by_person, correct_events, correct_speech, correct_words
from pipelines.annotate.params import AnnotateParams
from pipelines.annotate.track_languages import session_languages
from pipelines.annotate.transcription import load_transcriber, transcript_hashes
from pipelines.annotate.unit_labels import unit_rows
from pipelines.annotate.whisperx_words import TimedWord
from pipelines.annotate.whose_voice import Heard, bleed_rows, bleed_sounds, bleed_units, doubts, hear
from pipelines.engine.buckets import by_bucket
from pipelines.engine.command import stage_main
from pipelines.engine.files import hash_of
from pipelines.engine.inputs import check_files
from pipelines.engine.jobs import Damaged, Job, Rejected, Result
from pipelines.engine.plan import Plan, plan_by_tables
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.tables import TableRow, bucket_table, bucket_tables, rows_by_session, session_rows
from pipelines.media.languages import same_language
from pipelines.media.tracks import read_wav
from pipelines.signals.speech_models import detector_hashes, load_detector
from pipelines.signals.voice_activity import Activity, resample, subtract
from pipelines.sources.annotation_corrections import AnnotationCorrection
from pipelines.sources.corrections import corrections_file, listed_corrections, read_annotation_corrections
from schemas.annotate import BLEED, EVENTS, IPUS, SPEECH, TURNS, UNITS, WORDS
from wanstreamer.clock import UNIT_MS, Span, merge_spans
from wanstreamer.turns import (
    RULE_VERSION,
    Annotation,
    Sound,
    TurnParams,
    annotate_session,
    nonspeech,
)
from wanstreamer.turns.transcript_times import misplaced, over_silence

TABLES = (BLEED, SPEECH, WORDS, IPUS, TURNS, EVENTS, UNITS)


def run(data: Path, params: AnnotateParams, how: RunParams) -> dict[str, Any]:
    """Annotate every session of the tracks table; returns counts, including the events by label."""
    data = data.resolve()
    weights = detector_hashes(params) + transcript_hashes(params)
    corrected = listed_corrections(data)

    def jobs(bucket: int, num_buckets: int) -> Iterator[Job]:
        tracks = rows_by_session(bucket_table(data, "tracks", bucket, num_buckets).to_pylist())
        for session_id in bucket_table(data, "sessions", bucket, num_buckets)["session_id"].to_pylist():
            path = corrections_file(data, session_id) if session_id in corrected else None
            yield _job(
                session_id, tracks.get(session_id, []), weights, read_annotation_corrections(path) if path else []
            )

    counts = run_keys(
        data,
        "annotate",
        _with_corrections(plan_by_tables(data, jobs, ("sessions", "tracks"), weights), corrected),
        Annotator,
        params=params,
        tables=TABLES,
        how=how,
        uses_gpu=params.speech == "pyannote" or params.words == "whisperx",
        reads=("tracks", "sidecar_words"),
        setup={"params": params},
    )  # fmt: skip
    labels: Counter[str] = Counter()
    for events in bucket_tables(data, "events", ["kind", "label", "outcome"]):
        for row in events.group_by(events.column_names).aggregate([([], "count_all")]).to_pylist():
            labels[".".join(filter(None, (row["kind"], row["label"], row["outcome"])))] += row["count_all"]
    words = silent = 0
    for table in bucket_tables(data, "words", ["over_silence"]):
        words += table.num_rows
        silent += pc.sum(table["over_silence"]).as_py() or 0
    if misfits := counts["rejected"].get("correction_misfit", 0):
        print(
            f"annotate: warning: corrections that fit nothing and were not applied: {misfits}; table rejections names "
            "each (reason correction_misfit)",
            file=sys.stderr,
        )
    unreliable = counts["rejected"].get("transcript_times_unreliable", 0)
    if unreliable:
        print(
            f"annotate: warning: transcripts with unreliable times: {unreliable}, since more than "
            f"{params.max_words_over_silence:.0%} of their words lie over silence ({silent} of {words} words of all "
            "transcripts); view transcripts has the figures, table rejections the shift that would help",
            file=sys.stderr,
        )
    return counts | {"words_over_silence": silent, "events": dict(sorted(labels.items()))}


def _with_corrections(plan: Plan, corrected: Mapping[str, str]) -> Plan:
    """The plan, looking again at a bucket when the corrections of one of its sessions change."""
    own = by_bucket(corrected)

    def inputs(bucket: int, num_buckets: int) -> str:
        stamps = [[key, corrected[key]] for key in own(bucket, num_buckets)]
        tables = plan.inputs(bucket, num_buckets)
        return hash_of([tables, stamps]) if stamps else tables

    return replace(plan, inputs=inputs)


def _job(
    session_id: str, tracks: Sequence[TableRow], weights: tuple[str, ...], corrections: Sequence[AnnotationCorrection]
) -> Job:
    needed = (
        "participant",
        "num_units",
        "audio_path",
        "audio_sha256",
        "words_sha256",
        "language",
        "attributed",
        "mixed",
        "video_path",
        "visible",
    )
    hashes = tuple(str(row[name]) for row in tracks for name in ("audio_sha256", "words_sha256"))
    spec = {"tracks": [{name: row[name] for name in needed} for row in tracks]}
    if corrections:
        spec["corrections"] = [line.to_json() for line in corrections]
    return Job(key=session_id, spec=spec, inputs=hashes + weights)


class Annotator:
    """Holds the annotators; annotates one session per call."""

    def __init__(self, params: AnnotateParams) -> None:
        self.params = params
        self.detect = load_detector(params)
        self.transcribe = load_transcriber(params)

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        tracks: list[TableRow] = job.spec["tracks"]
        if not tracks:
            raise Rejected("no_tracks")
        check_files(data, "ingest", {row["audio_path"]: row["audio_sha256"] for row in tracks if row["audio_path"]})
        listed = _sidecars(data, job.key, tracks)
        result = Result()
        audio: dict[str, np.ndarray] = {}
        words: dict[str, list[TimedWord] | None] = {}
        for track in tracks:
            key, who = f"{job.key}/{track['participant']}", track["participant"]
            if track["audio_path"] is None:
                result.rejections.append((key, "no_audio", ""))
            elif not track["attributed"]:
                result.rejections.append((key, "speech_unattributed", "shared sound without diarization"))
            else:
                audio[who] = resample(*read_wav(data / track["audio_path"]))
            words[who], rejected = checked_words(listed.get(who), track["num_units"])
            result.rejections += [(key, reason, "") for reason in rejected]
        mixed = [span for track in tracks if track["participant"] in audio for span in _mixed(track)]
        heard = hear(audio, self.detect, self.params, merge_spans(mixed))
        result.rejections += [(f"{job.key}/{who}", *doubt) for who in audio for doubt in doubts(heard, who)]
        corrections = [AnnotationCorrection.from_json(line) for line in job.spec.get("corrections", ())]
        duration_ms = max(track["num_units"] for track in tracks) * UNIT_MS
        own_speech, people_spans, misfitting = correct_speech(heard.speech, corrections, duration_ms)
        heard = replace(heard, speech=own_speech)
        sounds = bleed_sounds(heard)
        todo = {
            track["participant"]: subtract(
                heard.speech[track["participant"]], _mixed(track), self.params.vad_min_speech_ms
            )
            for track in tracks
            if self.transcribe
            and track["participant"] in audio
            and (words[track["participant"]] is None or self.params.replace_sidecars)
        }
        detects = self.params.detect_language and not (self.transcribe and self.transcribe.knows_english_only)
        languages, unclear = session_languages(
            tracks, heard.speech, todo, self.params.language,
            hear=(lambda who: self._hear_language(heard, who, todo[who])) if detects else None,
        )  # fmt: skip
        result.rejections += [(f"{job.key}/{who}", "language_unclear", why) for who, why in unclear.items()]
        for track in tracks:
            key, who = f"{job.key}/{track['participant']}", track["participant"]
            if who in todo and languages[who] is not None:
                transcribed, rejections = self._hear_words(heard, todo[who], track, str(languages[who]))
                words[who] = words[who] if transcribed is None else transcribed
                result.rejections += [(key, *rejection) for rejection in rejections]
            transcript = words[who]
            if transcript is not None:
                words[who], tagged = nonspeech.part_words(transcript)
                sounds.setdefault(who, []).extend(_tagged_sound(word, label) for word, label in tagged)
        words, more = correct_words(words, corrections, duration_ms)
        misfitting += more
        misfits: set[str] = set()
        unknown = {who: voice.unknown for who, voice in heard.voices.items()}
        for who, own in heard.speech.items():
            others = {other: spans for other, spans in heard.speech.items() if other != who}
            known = [word for word in words[who] or () if not _touches(word, unknown[who])]
            why = misplaced(known, own, others, self.params.max_words_over_silence)
            if why is not None:
                result.rejections.append((f"{job.key}/{who}", "transcript_times_unreliable", why))
                misfits.add(who)
        spoken = {who: language or self.params.language for who, language in languages.items()}
        english = all(same_language(language, "en") for language in spoken.values())
        annotation = annotate_session(
            {track["participant"]: heard.speech.get(track["participant"], []) for track in tracks},
            {who: None if who in misfits else own for who, own in words.items()},
            self.params,
            sounds=sounds,
            lexical=english,
        )
        events, more = correct_events(annotation.events, corrections, duration_ms, set(words))
        annotation = replace(annotation, events=events)
        result.rejections += [(f"{job.key}/{who}", "correction_misfit", why) for who, why in [*misfitting, *more]]
        speech = {who: annotation.speech[who] for who in heard.speech}
        result.tables = {
            "bleed": bleed_rows(job.key, heard),
            "speech": by_person(speech_rows(job.key, speech, heard.activity), people_spans),
            "words": word_rows(job.key, words, heard.speech, unknown, misfits, spoken),
            "ipus": ipu_rows(job.key, annotation, self.params),
            "turns": turn_rows(job.key, annotation),
            "events": event_rows(job.key, annotation),
            "units": [row for track in tracks for row in self._units(job.key, track, heard, speech, annotation)],
        }
        return result

    def _units(
        self, session_id: str, track: TableRow, heard: Heard, speech: Mapping[str, Sequence[Span]],
        annotation: Annotation,
    ) -> list[TableRow]:  # fmt: skip
        who = track["participant"]
        if who not in heard.voices:
            return unit_rows(session_id, track, speech, annotation)
        bleed = bleed_units(heard, who, track["num_units"])
        return unit_rows(session_id, track, speech, annotation, heard.voices[who].unknown, bleed)

    def _hear_language(self, heard: Heard, who: str, alone: Sequence[Span]) -> Mapping[str, float]:
        assert self.transcribe is not None
        return self.transcribe.hear_language(heard.voices[who].audio_T, alone)

    def _hear_words(
        self, heard: Heard, alone: Sequence[Span], track: TableRow, language: str
    ) -> tuple[list[TimedWord] | None, list[tuple[str, str]]]:
        """Transcribed words of a track, and (reason, detail) for what was not transcribed.

        Words are None if Whisper does not know the language. Spans in which others speak in the same sound are not
        transcribed: their words could be anyone's.

        Args:
            alone: The participant's speech without such spans.
        """
        assert self.transcribe is not None
        who = track["participant"]
        if not self.transcribe.knows(language):
            return None, [("other_language", f"{language}; the Whisper model does not know it")]
        words, reasons = self.transcribe(heard.voices[who].audio_T, alone, language)
        unheard_ms = sum(span.duration_ms for span in heard.speech[who]) - sum(span.duration_ms for span in alone)
        mixed_part = [("speech_not_transcribed", f"{unheard_ms} ms in mixed sound")] if unheard_ms else []
        return words, mixed_part + [(reason, "") for reason in reasons]


def _sidecars(data: Path, session_id: str, tracks: Sequence[TableRow]) -> dict[str, list[TableRow]]:
    """The rows of `sidecar_words` by participant, for the tracks that have a word file."""
    wanted = {row["participant"]: row["words_sha256"] for row in tracks if row["words_sha256"] is not None}
    rows = session_rows(data, "sidecar_words", session_id) if wanted else []
    listed: dict[str, list[TableRow]] = {who: [] for who in wanted}
    for row in rows:
        listed[row["participant"]].append({name: value for name, value in row.items() if name != "schema_version"})
    for who, words in listed.items():
        if hash_of(words) != wanted[who]:
            raise Damaged("ingest", f"tables/sidecar_words: the words of {who} are not those of its track")
    return listed


def checked_words(listed: Sequence[TableRow] | None, num_units: int) -> tuple[list[TimedWord] | None, list[str]]:
    """The words of a track's sidecar, sorted and inside the session, and a reason for each rejected word.

    None without a sidecar. A word that crosses an end of the session is cut there.
    """
    if listed is None:
        return None, []
    duration_ms = num_units * UNIT_MS
    words: list[TimedWord] = []
    rejected: list[str] = []
    for entry in listed:
        text, start_ms, end_ms = entry["word"].strip(), entry["start_ms"], entry["end_ms"]
        if not text:
            rejected.append("word_malformed")
        elif end_ms <= start_ms:
            rejected.append("word_without_duration")
        elif start_ms >= duration_ms or end_ms <= 0:
            rejected.append("word_outside_session")
        else:
            within = {"start_ms": max(0, start_ms), "end_ms": min(end_ms, duration_ms)}
            words.append(TimedWord(**within, text=text, source="sidecar", confidence=1.0))
    return sorted(words, key=lambda word: (word.start_ms, word.end_ms)), rejected


def _mixed(track: TableRow) -> list[Span]:
    return [Span(span["start_ms"], span["end_ms"]) for span in track["mixed"]]


def _tagged_sound(word: TimedWord, label: str) -> Sound:
    return Sound(start_ms=word.start_ms, end_ms=word.end_ms, label=label, confidence=word.confidence)


def speech_rows(
    session_id: str, speech: Mapping[str, Sequence[Span]], activity: Mapping[str, Activity]
) -> list[TableRow]:
    """`confidence` is the detector's mean probability over the interval."""
    return [
        _interval(session_id, who, span)
        | {"source": activity[who].source, "confidence": round(activity[who].confidence(span), 3)}
        for who, spans in speech.items()
        for span in spans
    ]


def word_rows(
    session_id: str,
    words: Mapping[str, Sequence[TimedWord] | None],
    speech: Mapping[str, Sequence[Span]],
    unknown: Mapping[str, Sequence[Span]] | None = None,
    misfits: Container[str] = (),
    languages: Mapping[str, str] | None = None,
) -> list[TableRow]:
    """The rows of the table `words`.

    Args:
        speech: Of the participants whose speech is known, except in the spans that are `unknown`.
        misfits: Participants whose transcript has times that do not fit the speech.
        languages: Of the transcripts, by participant.
    """
    rows: list[TableRow] = []
    for who, track_words in words.items():
        own = track_words or ()
        silent = over_silence(own, speech[who]) if who in speech else [None] * len(own)
        for index, (word, is_over_silence) in enumerate(zip(own, silent, strict=True)):
            if _touches(word, (unknown or {}).get(who, ())):
                is_over_silence = None
            row = {"index": index, "word": word.text, "source": word.source, "confidence": word.confidence}
            row |= {"over_silence": is_over_silence, "times_fit": who not in misfits}
            row["language"] = (languages or {}).get(who)
            rows.append(_interval(session_id, who, Span(word.start_ms, word.end_ms)) | row)
    return rows


def _touches(word: TimedWord, spans: Sequence[Span]) -> bool:
    return any(word.start_ms < span.end_ms and span.start_ms < word.end_ms for span in spans)


def ipu_rows(session_id: str, annotation: Annotation, params: TurnParams) -> list[TableRow]:
    return [
        _interval(session_id, who, Span(ipu.start_ms, ipu.end_ms))
        | {
            "short": ipu.end_ms - ipu.start_ms < params.short_ipu_ms,
            "text": None if ipu.words is None else " ".join(word.text for word in ipu.words),
            "candidate": ipu.candidate,
            "rule_version": RULE_VERSION,
        }
        for who, own in annotation.ipus.items()
        for ipu in own
    ]


def turn_rows(session_id: str, annotation: Annotation) -> list[TableRow]:
    rows: list[TableRow] = []
    for turn in annotation.turns:
        words = [ipu.words for ipu in turn.ipus]
        rows.append(
            _interval(session_id, turn.participant, Span(turn.start_ms, turn.end_ms))
            | {
                "is_primary": turn.is_primary,
                "complete": turn.complete,
                "num_ipus": len(turn.ipus),
                "num_words": None if None in words else sum(len(ipu_words or ()) for ipu_words in words),
                "rule_version": RULE_VERSION,
            }
        )
    return rows


def event_rows(session_id: str, annotation: Annotation) -> list[TableRow]:
    return [
        _interval(session_id, event.participant, Span(event.start_ms, event.end_ms))
        | {
            "kind": event.kind,
            "label": event.label,
            "outcome": event.outcome,
            "other": event.other,
            "yield_ms": event.yield_ms,
            "fto_ms": event.fto_ms,
            "source": event.source,
            "confidence": event.confidence,
            "rule_version": RULE_VERSION,
        }
        for event in annotation.events
    ]


def _interval(session_id: str, participant: str, span: Span) -> TableRow:
    return {"session_id": session_id, "participant": participant, "start_ms": span.start_ms, "end_ms": span.end_ms}


def main() -> None:
    stage_main("annotate", AnnotateParams, run)
