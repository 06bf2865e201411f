"""One recording -> its two participants: who speaks when, and where each is in the picture. The work of one worker.

Voices come first, since they decide whether two people talk (voices.py, dyad.py). Then faces are found and followed
(face_tracks.py, identities.py), and each voice gets the face that moves with it (speaking.py, assignment.py); a voice
without a face is a person off screen. Last come the corrections that a person has made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.jobs import Job, Rejected, Result
from pipelines.engine.remote import folder_at, is_remote_uri, use_settings
from pipelines.media.pictures import small_pictures, small_size
from pipelines.people.assignment import Assignment, assign, join_by_voice
from pipelines.people.crops import Crop, crop_path
from pipelines.people.dyad import Dyad, choose_two
from pipelines.people.face_tracks import FoundFaces, find_tracks
from pipelines.people.identities import Identity, identify
from pipelines.people.params import PeopleParams
from pipelines.people.recording import Recording, open_recording
from pipelines.people.speaking import speaking_scores
from pipelines.people.voices import Voice, Voices, find_voices
from pipelines.signals.active_speaker import load_active_speaker, sound_of_frames
from pipelines.signals.face_embedding import FaceEmbedding
from pipelines.signals.voice_embedding import load_embedder
from pipelines.sources.corrections import Correction, apply_people, is_confirmed
from pipelines.sources.row import FOUND_PARTICIPANTS, row_from_json
from pipelines.sources.session_files import fetch_files, files_of
from wanstreamer.clock import FRAME_MS, Span, merge_spans

BLACK = 20.0  # mean brightness of black pictures, 0 to 255, with the noise of a camera
STILL_PICTURES = 0.02  # share of pictures that differ from the one before


class FindPeople:
    """Holds the models; looks at one recording per call."""

    def __init__(self, root: str, params: PeopleParams, aspect: float, reach: dict[str, Any] | None = None) -> None:
        if reach:
            use_settings(reach)
        self.source = folder_at(root)
        self.params, self.aspect = params, aspect
        self.recognise_voices = load_embedder(params.voice_model)
        self.score = self.recognise_faces = None
        if params.asd_model:
            self.score = load_active_speaker(Path(params.asd_model), "people.asd_model")
        if params.face_model:
            self.recognise_faces = FaceEmbedding(Path(params.face_model), "people.face_model")

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        row = row_from_json(job.spec["row"])
        corrections = [Correction.from_json(each) for each in job.spec["corrections"]]
        root = self.source
        if is_remote_uri(root):
            root = scratch / "sources"
            fetch_files(self.source, [row], job.inputs[: len(files_of([row]))], root)
        recording = open_recording(root, row, scratch)
        found = find_voices(recording.audio_T, self.params.voices, self.recognise_voices)
        dyad = choose_two(found, self.params)
        result = Result()
        seen = self._faces(recording, dyad, job.key, result)
        rows = self._rows(job.key, recording, found, dyad, seen)
        confidence = seen.assignment.confidence
        if confidence is not None and confidence < self.params.min_face_confidence and not is_confirmed(corrections):
            people = sum(identity.is_person for identity in seen.identities)
            raise Rejected(
                "uncertain_assignment",
                f"which of {people} faces has which voice: confidence {confidence:.2f}, at least "
                f"{self.params.min_face_confidence:g}",
            )
        result.tables["people"] = apply_people(
            rows, corrections, duration_ms=recording.duration_ms, picture=recording.size if recording.pictures else None
        )
        return result

    def _faces(self, recording: Recording, dyad: Dyad, key: str, result: Result) -> "_Seen":
        """The faces of the recording, and which of them each voice has. Notes a picture in which no one is seen."""
        if recording.pictures is None:
            return _Seen()
        audio_T = recording.on_picture_clock()
        found = find_tracks(
            small_pictures(
                recording.pictures,
                small_size(recording.size, self.params.faces.picture_side),
                end_ms=recording.picture_end_ms,
            ),
            recording.size,
            self.params.faces,
            scorer=partial(self._scores, audio_T) if self.score else None,
            embedder=self.recognise_faces,
        )
        identities = identify(found.tracks, found.shots, self.params.faces, duration_ms=found.num_frames * FRAME_MS)
        if not any(identity.is_person for identity in identities):
            result.rejections.append((key, "no_face", _why_no_face(found)))
        voices = [_moved(voice, recording.sound_start_ms) for voice in dyad.voices]
        anyone = merge_spans(span for voice in voices for span in voice.speech)
        speaking = speaking_scores(identities, audio_T, anyone, num_frames=found.num_frames)
        identities, speaking = join_by_voice(voices, identities, speaking)
        return _Seen(identities=identities, assignment=assign(voices, identities, speaking), measure=speaking.measure)

    def _scores(self, audio_T: np.ndarray, faces_THW: np.ndarray, first: int) -> np.ndarray:
        assert self.score is not None
        return self.score.scores(faces_THW, sound_of_frames(audio_T, first, len(faces_THW)))

    def _rows(self, key: str, recording: Recording, found: Voices, dyad: Dyad, seen: "_Seen") -> list[dict[str, Any]]:
        """The rows of the table `people`."""
        rows = []
        for place, (who, voice) in enumerate(zip(FOUND_PARTICIPANTS, dyad.voices, strict=True)):
            face = seen.assignment.faces[place]
            crops: tuple[Crop, ...] = ()
            visible: tuple[Span, ...] = ()
            if face is not None:
                others = [identity for other, identity in enumerate(seen.identities) if other != face]
                crops, visible = crop_path(seen.identities[face], others, recording.size, self.aspect)
            rows.append(
                {
                    "session_id": key,
                    "participant": who,
                    "speech": _records(voice.speech),
                    "overlap": _records(found.overlap),
                    "others": _records(dyad.others),
                    "uncertain": _records(found.uncertain),
                    "visible": _records(visible),
                    "crops": [crop._asdict() for crop in crops],
                    "voice_confidence": round(found.confidence, 3),
                    "face_confidence": None if face is None else seen.assignment.confidence,
                    "face_certainty": None if face is None else seen.identities[face].certainty,
                    "asd": seen.measure,
                    "num_faces": sum(identity.is_person for identity in seen.identities),
                    "num_voices": len(found.voices),
                }
            )
        return rows


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the pictures of a recording show."""

    identities: tuple[Identity, ...] = ()
    assignment: Assignment = Assignment(faces=(None, None), confidence=None)
    measure: str | None = None  # what decided who speaks


def _moved(voice: Voice, shift_ms: int) -> Voice:
    """A voice on another clock; what would lie before its start is left out."""
    spans = (Span(max(0, span.start_ms + shift_ms), span.end_ms + shift_ms) for span in voice.speech)
    return replace(voice, speech=tuple(span for span in spans if span.duration_ms > 0))


def _why_no_face(found: FoundFaces) -> str:
    if found.light < BLACK:
        return f"black pictures: mean brightness {found.light:.0f} of 255; both participants are heard only"
    if found.moving_share < STILL_PICTURES:
        return f"{len(found.shots)} still pictures without a face that moves; both participants are heard only"
    return "no face of a person is seen; both participants are heard only"


def _records(spans: Sequence[Span]) -> list[dict[str, int]]:
    return [span._asdict() for span in spans]
