"""What is seen in a scene: people where the truth says, found by the face detector; cuts, tiles, captions."""

from itertools import islice

import numpy as np
import pytest

from pipelines.conversation.scene_kinds import KINDS
from pipelines.conversation.scene_picture import Face, Picture, draw, faces, frame_at, shot_spans, visible
from pipelines.conversation.scene_staging import stage
from pipelines.signals.faces import find_faces
from tests.helpers.scenes import planned, spoken, staged
from wanstreamer.clock import intersect_spans

FACELESS = ("slideshow", "black", "still")
STAGED_LIKE_OTHERS = ("two_words", "music", "mute")
WITH_FACES = [
    name for name, kind in KINDS.items()
    if kind.has_picture and name not in (*FACELESS, *STAGED_LIKE_OTHERS, "crowd")
]  # fmt: skip


def truth_at(picture: Picture, time_ms: int) -> list[Face]:
    return [face for face in faces(picture) if face.time_ms == time_ms]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = np.prod(np.maximum(high - low, 0))
    return float(common / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common))


@pytest.mark.parametrize("kind", WITH_FACES)
def test_the_face_detector_finds_the_faces_where_the_truth_has_them(kind: str) -> None:
    picture = staged(kind)
    hits, total, strangers = 0, 0, 0
    for time_ms in range(1000, picture.ms_of(picture.num_frames), 4000):
        frame = frame_at(picture, int(time_ms * picture.rate / 1000))[:, :, ::-1]
        size = np.array([picture.width, picture.height] * 2)
        found = [np.array(face) * size for face in find_faces(np.ascontiguousarray(frame))]
        known = [np.array(face.box) for face in truth_at(picture, time_ms)]
        hits += sum(any(overlap(box, other) > 0.4 for other in found) for box in known)
        strangers += sum(all(overlap(box, other) < 0.2 for box in known) for other in found)
        total += len(known)
    least = 0.5 if kind == "captions" else 0.85  # a face behind a caption is no face to the detector
    assert total >= 5 and hits >= least * total and strangers <= 0.05 * total, (hits, total, strangers)


@pytest.mark.parametrize("kind", FACELESS)
def test_pictures_without_people_have_no_faces(kind: str) -> None:
    picture = staged(kind)
    assert faces(picture) == [] and visible(picture) == {}
    assert not find_faces(np.ascontiguousarray(frame_at(picture, 40)[:, :, ::-1]))


def test_sound_alone_has_no_picture() -> None:
    assert stage(planned("sound"), *spoken("sound")) is None


def test_a_frame_by_itself_is_that_of_the_whole() -> None:
    picture = staged("cuts")
    for number, frame in islice(enumerate(draw(picture)), 0, 300, 149):
        assert np.array_equal(frame, frame_at(picture, number))


def test_cuts_show_one_or_both_and_follow_the_speaker() -> None:
    picture = staged("cuts", 60)
    dialogue, _ = spoken("cuts", 60)
    assert len(picture.shots) >= 8
    spans = visible(picture)
    assert set(spans) == {"a", "b"} and all(len(own) > 1 for own in spans.values()), "each is out of the picture once"
    alone = [
        (span, picture.cameras[shot.tiles[0].camera].figures[0].name)
        for shot, span in zip(picture.shots, shot_spans(picture), strict=True) if shot.tiles[0].camera
    ]  # fmt: skip
    seen_speech = sum(s.duration_ms for span, who in alone for s in intersect_spans([span], dialogue.speech(who)))
    other_speech = sum(
        s.duration_ms for span, who in alone for s in intersect_spans([span], dialogue.speech("ba"["ab".index(who)]))
    )
    assert seen_speech > other_speech


def test_tiles_of_a_call_change_their_places() -> None:
    places = [{tile.camera: (tile.left, tile.width) for tile in shot.tiles} for shot in staged("gallery").shots]
    assert len({place[0] for place in places if 0 in place}) >= 2
    everyone = {len(truth_at(staged("thumbnails"), time_ms)) for time_ms in range(0, 20_000, 1000)}
    assert everyone == {3}, "both in small tiles, the speaker also in the large one"


def test_the_interviewer_is_never_seen() -> None:
    dialogue, _ = spoken("off_screen")
    assert len(visible(staged("off_screen"))) == 1 and len({u.participant for u in dialogue.utterances}) == 2


def test_a_poster_hangs_still_and_no_one_else_does() -> None:
    boxes = {name: {face.box for face in faces(staged("poster")) if face.name == name} for name in ("a", "b", "poster")}
    assert len(boxes["poster"]) == 1 and len(boxes["a"]) > 50 and len(boxes["b"]) > 50


def test_some_captions_cover_mouths() -> None:
    picture = staged("captions")
    boxes = [face.box for face in truth_at(picture, 1000)]
    lower = [box.top + 0.6 * (box.bottom - box.top) for box in boxes]
    across = [any(low < caption.middle_y < box.bottom for low, box in zip(lower, boxes, strict=True))
              for caption in picture.captions]  # fmt: skip
    assert 0.2 < np.mean(across) < 0.8
    caption = picture.captions[across.index(True)]
    plain = frame_at(picture, caption.first_frame)[caption.middle_y - 4 : caption.middle_y + 4].mean()
    bare = frame_at(staged("two_shot"), caption.first_frame)[caption.middle_y - 4 : caption.middle_y + 4].mean()
    assert plain < bare


def test_a_listener_moves_the_mouth_without_a_sound() -> None:
    dialogue, _ = spoken("listener")
    assert {u.participant for u in dialogue.utterances} == {"a"}
    motions = {figure.name: figure.motion for figure in staged("listener").cameras[0].figures}
    assert 0.1 < (motions["b"].mouth_open > 0.05).mean() < 0.9
