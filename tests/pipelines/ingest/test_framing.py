"""Pictures of another shape than the tracks: faces stay whole, what is lost is counted, and borders are no pictures."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.ingest.framing import keep_faces
from pipelines.ingest.stage import IngestParams
from pipelines.media.framing import CENTRE
from pipelines.media.tracks import read_frames, write_video
from pipelines.quality.track_facts import measure
from pipelines.signals.faces import Face, find_faces
from tests.helpers.clips import ingest_rows
from tests.helpers.counts import examples
from tests.helpers.pictures import talking_face
from tests.helpers.small_corpus import keep_in_process
from wanstreamer.errors import InputError

WIDTH, HEIGHT = 216, 384  # a phone that is held upright
TRACK = (64, 48)


def phone(seed: int, place: float, size: int = 160) -> np.ndarray:
    """A person in a tall picture of 4 s; `place` from 0 at the top to 1 at the bottom, `size` in pixels."""
    head = talking_face(seed, size, size, 100)[:, :, max(0, (size - WIDTH) // 2) :][:, :, :WIDTH]
    frames = np.full((100, HEIGHT, WIDTH, 3), (90, 120, 90), np.uint8)
    y, x = int((HEIGHT - head.shape[1]) * place), (WIDTH - head.shape[2]) // 2
    frames[:, y : y + head.shape[1], x : x + head.shape[2]] = head
    return frames


def eyes_and_chin(frame_HWC: np.ndarray) -> tuple[float, float]:
    """Upper and lower end of the face, in shares of the height."""
    (face, *_) = find_faces(cv2.resize(frame_HWC, (320, 240), interpolation=cv2.INTER_CUBIC))
    return face.top, face.bottom


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_face_is_whole_wherever_it_is(tmp_path: Path, place: float) -> None:
    write_video(tmp_path / "a.mp4", phone(1, place))
    result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mp4"}])
    (track,) = result.tables["tracks"]
    assert track["picture_kept_share"] == pytest.approx(162 / 384, abs=0.01)
    assert track["faces_kept_share"] == 1.0
    assert track["picture"] == {"x": 0, "y": 0, "width": 64, "height": 48}
    for frame in read_frames(data / track["video_path"])[::25]:
        top, bottom = eyes_and_chin(frame)
        assert top >= -0.05 and bottom <= 1.05 and bottom - top > 0.4


def test_a_face_that_does_not_fit_gets_a_border(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", phone(4, 0.3, 300))
    result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mp4"}])
    (track,) = result.tables["tracks"]
    picture = track["picture"]
    assert track["faces_kept_share"] >= 7 / 8 and 0.45 < track["picture_kept_share"] < 0.9
    assert picture["x"] > 0 and picture["width"] < 64 and picture["height"] == 48
    frame = read_frames(data / track["video_path"])[0].astype(int)
    assert np.abs(frame[:, : picture["x"] - 1] - 128).max() < 12


def test_all_of_the_picture_with_a_border(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", phone(1, 0.0))
    result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mp4"}], fit="pad")
    (track,) = result.tables["tracks"]
    assert track["picture"] == {"x": 18, "y": 0, "width": 27, "height": 48}
    assert track["picture_kept_share"] == 1.0 and track["faces_kept_share"] is None
    frame = read_frames(data / track["video_path"])[0].astype(int)
    assert np.abs(frame[:, :17] - 128).max() < 12 and np.abs(frame[:, 47:] - 128).max() < 12


def test_a_border_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    """Black and frozen pictures are so within their border; changes of light and the face are measured inside."""
    write_video(tmp_path / "black.mp4", np.zeros((100, HEIGHT, WIDTH, 3), np.uint8))
    write_video(tmp_path / "face.mp4", phone(1, 0.2))
    rows = [{"participant": "a", "uri": "black.mp4"}, {"participant": "b", "uri": "face.mp4"}]
    result, data = ingest_rows(tmp_path, rows, fit="pad")
    black, face = (measure(data, track) for track in result.tables["tracks"])
    assert black.facts["black_share"] == 1.0 and black.facts["frozen_share"] > 0.95
    assert black.light_TB is not None and black.light_TB.max() < 20
    assert face.facts["face_share"] == 1.0 and face.facts["black_share"] == 0.0


def test_a_picture_that_fits_is_left_as_it_was(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", talking_face(0, 128, 96, 50))
    columns = ("video_sha256", "picture", "picture_kept_share", "faces_kept_share")
    tracks = [
        ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mp4"}], fit=fit)[0].tables["tracks"][0]
        for fit in ("cut", "pad")
    ]
    cut, pad = ([track[column] for column in columns] for track in tracks)
    assert cut == pad and cut[1:] == [{"x": 0, "y": 0, "width": 64, "height": 48}, 1.0, None]


def boxes(*places: tuple[float, float], height: float = 0.2) -> list[Face]:
    """Faces around these places of a picture, (x, y)."""
    return [Face(x - 0.15, y - height / 2, x + 0.15, y + height / 2) for x, y in places]


def shown(faces: list[Face], picture: tuple[int, int]) -> tuple[float, float, float | None]:
    """The part of the picture that is shown, in the direction in which it is cut, and the share of faces."""
    framing, share = keep_faces(faces, picture, TRACK)
    width, height = framing.scaled_size(picture, TRACK)
    length, place = (TRACK[1] / height, framing.y) if height > TRACK[1] else (TRACK[0] / width, framing.x)
    return (1 - length) * place, (1 - length) * place + length, share


def test_the_part_with_the_faces_is_shown() -> None:
    tall, wide = (216, 384), (384, 96)
    assert shown([], tall)[:2] == pytest.approx((0.29, 0.71), abs=0.01) and keep_faces([], tall, TRACK)[1] is None
    begin, end, share = shown(boxes(*[(0.5, 0.2)] * 8), tall)
    assert begin < 0.1 and end == pytest.approx(begin + 0.42, abs=0.01) and share == 1
    begin, end, _ = shown(boxes(*[(0.5, 0.5)] * 8), tall)
    assert (0.5 - begin) / (end - begin) == pytest.approx(0.45, abs=0.02), "eyes above the middle"
    begin, end, _ = shown(boxes(*[(0.8, 0.5)] * 8), wide)
    assert begin > 0.6 and end <= 1
    begin, end, share = shown(boxes(*[(0.5, 0.2)] * 15, (0.5, 0.95)), tall)
    assert begin < 0.1 and end < 0.6 and share == 15 / 16, "one of many may be a mistake of the detector"


def test_people_who_move_far_are_shown_as_a_whole() -> None:
    tall = (216, 384)
    begin, end, share = shown(boxes(*[(0.5, 0.15)] * 4, *[(0.5, 0.8)] * 4), tall)
    assert begin < 0.06 and end > 0.89 and share == 1
    framing, _ = keep_faces(boxes(*[(0.5, 0.15)] * 4, *[(0.5, 0.8)] * 4), tall, TRACK)
    rect = framing.picture_in_frame(tall, TRACK)
    assert 27 < rect.width < 34 and rect.height == 48


@examples(200)
@given(
    places=st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.floats(0.02, 0.5)), min_size=1, max_size=24),
    picture=st.tuples(st.integers(16, 2000), st.integers(16, 2000)),
)
def test_at_most_one_face_of_eight_is_cut(places: list[tuple[float, float, float]], picture: tuple[int, int]) -> None:
    faces = [Face(x - size, y - size, x + size, y + size) for x, y, size in places]
    framing, share = keep_faces(faces, picture, TRACK)
    assert share is not None and share >= 1 - (len(faces) // 8) / len(faces) - 1e-4
    assert 0 <= framing.x <= 1 and 0 <= framing.y <= 1 and 0 < framing.zoom <= 1
    assert CENTRE.kept_share(picture, TRACK) - 1e-9 <= framing.kept_share(picture, TRACK) <= 1


def test_what_is_lost_is_said_with_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_in_process(monkeypatch)
    source = tmp_path / "source"
    people: dict[str, Any] = {"one/anna": phone(1, 0.1)[:25], "one/ben": talking_face(2, 64, 48, 25)}
    people |= {"two/a": np.full((25, 96, 192, 3), 90, np.uint8), "two/b": talking_face(3, 64, 48, 25)}
    for name, frames in people.items():
        write_video(source / f"{name}.mp4", frames)
    data = tmp_path / "data"
    ingest.run(data, IngestParams(source=str(source)), RunParams(workers=1))
    said = capsys.readouterr().err
    assert "2 tracks of 2 sessions show only a part of their picture" in said and "ingest.fit=pad" in said
    assert "  one: anna 42% (the face whole in 100% of the stills)\n  two: a 67% (no face found)\n" in said
    before = {row["participant"]: row["video_sha256"] for row in read_rows(data, "tracks")}
    ingest.run(data, IngestParams(source=str(source), fit="pad"), RunParams(workers=1))
    assert "show only a part" not in capsys.readouterr().err
    after = {row["participant"]: row["video_sha256"] for row in read_rows(data, "tracks")}
    assert {who for who in before if before[who] == after[who]} == {"ben", "b"}


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(InputError, match="fit: 'stretch'; expected"):
        IngestParams(fit="stretch")  # type: ignore[arg-type]
