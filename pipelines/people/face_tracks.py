"""Pictures of a recording -> tracks of faces: one face in one shot.

The whole picture is looked at about once a second, and a known face is looked for around its place five times a second;
both with YuNet. Faces are joined to tracks by place and landmarks (Hungarian). Between two detections, boxes and
landmarks are interpolated, and every picture gives the brightness of the mouth, and the score of an active-speaker
network if there is one. Pictures are read once, and only the last few seconds of them are in memory.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from pipelines.media.pictures import SmallPicture
from pipelines.people import face_patches
from pipelines.people.face_patches import Steady
from pipelines.people.faces_params import FacesParams
from pipelines.people.shots import Shot, difference, mark_shots, same_setup
from pipelines.signals.faces import Detections, detect_faces
from wanstreamer.clock import FRAME_MS, FRAME_RATE_HZ

STILL = 0.02  # grey levels by which coding alone may change a still picture
LEAST_SIDE = 640  # smaller pictures are enlarged for the detector
AROUND = 2.5  # a known face is looked for in a square of this many times its size
AROUND_SIDE = 128  # pixels to which this square is scaled
MIN_IOU = 0.15  # of a face with its place before
MAX_MOVE = 0.7  # of its size, between two detections
MAX_GROWTH = 1.7
OFTEN = 0.8  # a poster changes less than allowed for this share of the time; a person who listens does not
SMOOTH = 0.5  # how fast the expected place of a face follows its detections
SCORED_FRAMES = 150  # scored by the active-speaker network at a time
MIN_SCORE = 0.65  # mean of a track
MIN_DETECTIONS = 3
MOST_FACES = 12  # that are followed at a time, the largest that come first: a crowd is no conversation of two

Scorer = Callable[[np.ndarray, int], np.ndarray]  # uint8 (T, 112, 112) from this frame on -> float32 (T,)
Embedder = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # RGB picture, box, landmarks -> (E,)


@dataclass(frozen=True, kw_only=True, eq=False)
class FaceTrack:
    """One face in one shot. N detections; T pictures from `first_frame` on. Positions are in displayed pixels."""

    shot: int
    setup: int  # equal for shots that follow each other and show the same place: a graphic came, or time was cut out
    start_ms: int
    end_ms: int
    times_N: np.ndarray  # int64, ms
    boxes_N4: np.ndarray  # left, top, right, bottom
    landmarks_N52: np.ndarray  # as in signals/faces.py
    scores_N: np.ndarray
    first_frame: int
    mouth_TB: np.ndarray  # float32: brightness of the strips of the mouth (face_patches.mouth_light)
    motion_T: np.ndarray  # float32: change of the mouth minus that of the upper face, in contrasts of the face
    asd_T: np.ndarray | None  # float32: the active-speaker network's scores
    patch_HW: np.ndarray  # float32: the mean face
    change: float  # how much the face changes within a second: nearly 0 for a poster
    sharpness: float
    frontal_share: float
    colours_R3: np.ndarray  # of hair, skin and clothes; NaN where they are not in the picture
    embedding_E: np.ndarray | None  # of length 1

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.start_ms

    @property
    def size(self) -> float:
        """Median of the larger side of its boxes, in displayed pixels."""
        return float(np.median(np.maximum(*(self.boxes_N4[:, 2:] - self.boxes_N4[:, :2]).T)))

    @property
    def centre(self) -> np.ndarray:
        """Median x, y of the middle of its boxes."""
        return np.median((self.boxes_N4[:, :2] + self.boxes_N4[:, 2:]) / 2, axis=0)


class FoundFaces(NamedTuple):
    tracks: tuple[FaceTrack, ...]  # by start
    shots: tuple[Shot, ...]
    num_frames: int
    light: float  # mean brightness of all pictures, 0 to 255
    moving_share: float  # of pictures that differ from the one before


class _Detection(NamedTuple):
    box_4: np.ndarray
    landmarks_52: np.ndarray
    score: float


@dataclass(kw_only=True, eq=False)
class _OpenTrack:
    """A face that is being followed; positions are in pixels of the small picture."""

    shot: int
    first_frame: int
    frames: list[int] = field(default_factory=list)
    detections: list[_Detection] = field(default_factory=list)
    around_4: np.ndarray = field(default_factory=lambda: np.zeros(4))  # smoothed box
    landmarks_52: np.ndarray = field(default_factory=lambda: np.zeros((5, 2)))  # smoothed
    steady: Steady = field(default_factory=Steady)
    mouth: list[np.ndarray] = field(default_factory=list)
    motion: list[float] = field(default_factory=list)
    scored: list[np.ndarray] = field(default_factory=list)
    waiting: list[np.ndarray] = field(default_factory=list)  # patches for the active-speaker network
    patch_before: np.ndarray | None = None
    middles: "deque[np.ndarray]" = field(default_factory=lambda: deque(maxlen=FRAME_RATE_HZ))  # of the landmarks
    patch_sum: np.ndarray | None = None
    changes: list[float] = field(default_factory=list)
    sharp: list[float] = field(default_factory=list)
    frontal: list[bool] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)
    embeddings: list[np.ndarray] = field(default_factory=list)


def find_tracks(
    pictures: Iterable[SmallPicture],
    size: tuple[int, int],
    params: FacesParams,
    *,
    scorer: Scorer | None = None,
    embedder: Embedder | None = None,
) -> FoundFaces:
    """All faces of a recording, and its shots.

    Args:
        pictures: Of the whole recording, in order (media/pictures.py).
        size: Width and height of the displayed picture.
        scorer: Gives a face in consecutive pictures its scores of speaking.
        embedder: Gives a face numbers that are alike for pictures of one person.
    """
    cv2.setNumThreads(1)  # recordings are looked at in parallel
    finder = _Finder(size, params, scorer, embedder)
    for marked in mark_shots(pictures, params.cut_change):
        finder.add(marked.picture, marked.thumb_3HW, begins=marked.begins)
    return finder.end()


class _Finder:
    """The state of `find_tracks`."""

    def __init__(
        self, size: tuple[int, int], params: FacesParams, scorer: Scorer | None, embedder: Embedder | None
    ) -> None:
        self.size, self.params, self.scorer, self.embedder = size, params, scorer, embedder
        self.open: list[_OpenTrack] = []
        self.tracks: list[FaceTrack] = []
        self.shots: list[Shot] = []
        self.max_lost = max(1, params.max_lost_ms // FRAME_MS)
        self.pictures: deque[SmallPicture] = deque(maxlen=self.max_lost + FRAME_RATE_HZ + 2)
        self.look_every = max(1, round(FRAME_RATE_HZ / params.looks_per_s))
        self.follow_every = max(1, round(FRAME_RATE_HZ / params.faces_per_s))
        self.first_frame = self.num_frames = self.num_moving = 0
        self.light_sum = 0.0
        self.thumb_sum: np.ndarray | None = None
        self.thumb_before: np.ndarray | None = None
        self.small_size = (1, 1)

    def add(self, picture: SmallPicture, thumb_3HW: np.ndarray, *, begins: bool) -> None:
        if begins:
            self._end_shot(picture.frame)
        self.small_size = picture.luma.shape[::-1]
        self.thumb_sum = thumb_3HW.copy() if self.thumb_sum is None else self.thumb_sum + thumb_3HW
        self.light_sum += float(thumb_3HW[0].mean())
        self.num_moving += self.thumb_before is not None and difference(self.thumb_before, thumb_3HW) > STILL
        self.thumb_before = thumb_3HW
        self.pictures.append(picture)
        self.num_frames = picture.frame + 1
        since = picture.frame - self.first_frame
        # A blurred face may be missed right after a cut.
        if since % self.look_every == 0 or (since < FRAME_RATE_HZ and not self.open and since % self.follow_every == 0):
            self._detect(picture, everywhere=True)
        elif since % self.follow_every == 0 and self.open:
            self._detect(picture, everywhere=False)

    def end(self) -> FoundFaces:
        self._end_shot(self.num_frames)
        setups = np.cumsum([0] + [not same_setup(*pair) for pair in pairwise(self.shots)]).tolist()
        self.tracks = [replace(track, setup=setups[track.shot]) for track in self.tracks]
        self.tracks.sort(key=lambda track: (track.start_ms, *track.centre))
        count = max(1, self.num_frames)
        return FoundFaces(
            tuple(self.tracks), tuple(self.shots), self.num_frames, self.light_sum / count, self.num_moving / count
        )

    def _end_shot(self, frame: int) -> None:
        if self.thumb_sum is None:
            return
        for track in self.open:
            self._close(track, end_frame=frame)
        self.open.clear()
        self.shots.append(
            Shot(
                start_ms=self.first_frame * FRAME_MS, end_ms=frame * FRAME_MS,
                thumb_3HW=self.thumb_sum / max(1, frame - self.first_frame),
            )
        )  # fmt: skip
        self.first_frame, self.thumb_sum = frame, None
        self.pictures.clear()

    def _detect(self, picture: SmallPicture, *, everywhere: bool) -> None:
        """Look for faces in one picture, and go on with the tracks of those that are found.

        Known faces are always looked for around their places: in the whole picture, landmarks come out a little
        differently, which would look like motion.
        """
        rgb = picture.rgb()
        around = [detection for track in self.open for detection in _look_around(rgb, track.around_4)]
        found = _without_doubles(around, ())
        joined = _join(self.open, found)
        if everywhere:
            side = max(LEAST_SIDE, *self.small_size)
            more = _without_doubles(_listed(detect_faces(rgb, side), np.zeros(2)), found)
            lost = [place for place in range(len(self.open)) if place not in joined]
            for place, other in _join([self.open[place] for place in lost], more).items():
                joined[lost[place]] = len(found) + other
            found += more
        for place, other in joined.items():
            self._extend(self.open[place], picture, found[other], rgb)
        if everywhere:
            new = [found[place] for place in range(len(found)) if place not in joined.values()]
            new.sort(key=lambda detection: -float(np.prod(detection.box_4[2:] - detection.box_4[:2])))
            for detection in new[: max(0, MOST_FACES - len(self.open))]:
                track = _OpenTrack(shot=len(self.shots), first_frame=picture.frame)
                self.open.append(track)
                self._extend(track, picture, detection, rgb)
        for track in [track for track in self.open if picture.frame - track.frames[-1] > self.max_lost]:
            self.open.remove(track)
            self._close(track, end_frame=None)

    def _extend(self, track: _OpenTrack, picture: SmallPicture, detection: _Detection, rgb: np.ndarray) -> None:
        """Add a detection to a track, with all pictures since the one before."""
        first = track.frames[-1] + 1 if track.frames else picture.frame
        known = bool(track.frames)
        before = track.detections[-1].box_4 if known else detection.box_4
        landmarks_52 = track.landmarks_52 + SMOOTH * (detection.landmarks_52 - track.landmarks_52)
        landmarks_52 = landmarks_52 if known else detection.landmarks_52
        for between in self.pictures:
            if first <= between.frame <= picture.frame:
                share = (between.frame - first + 1) / (picture.frame - first + 1) if known else 1.0
                box_4 = before + share * (detection.box_4 - before)
                between_52 = track.landmarks_52 + share * (landmarks_52 - track.landmarks_52)
                self._add_patch(track, between, box_4, between_52)
        track.landmarks_52 = landmarks_52
        track.around_4 = track.around_4 + SMOOTH * (detection.box_4 - track.around_4) if known else detection.box_4
        track.frames.append(picture.frame)
        track.detections.append(detection)
        track.frontal.append(face_patches.is_frontal(detection.landmarks_52))
        if len(track.frames) % 5 == 1:
            track.colours.append(face_patches.colours(picture, detection.box_4))
            if self.embedder is not None and (track.frontal[-1] or not track.embeddings):
                track.embeddings.append(self.embedder(rgb, detection.box_4, detection.landmarks_52))

    def _add_patch(self, track: _OpenTrack, picture: SmallPicture, box_4: np.ndarray, landmarks_52: np.ndarray) -> None:
        """Add one picture to what is measured of a face."""
        patch = track.steady.patch(picture.luma, landmarks_52)
        if track.patch_before is not None:
            moved = np.abs(patch - track.patch_before) / max(float(patch.std()), 4.0)
            mouth = moved[face_patches.MOUTH_ROWS, face_patches.MOUTH_COLUMNS].mean()
            track.motion.append(float(mouth - moved[face_patches.UPPER].mean()))
        else:
            track.motion.append(0.0)
        middle_2 = landmarks_52.mean(0)
        if len(track.middles) == track.middles.maxlen and len(track.mouth) % 5 == 0:
            earlier = next((one for one in self.pictures if one.frame == picture.frame - FRAME_RATE_HZ), None)
            if earlier is not None:
                moved_2 = track.middles[0] - middle_2
                track.changes.append(face_patches.changed(earlier.luma, picture.luma, landmarks_52, moved_2))
        track.middles.append(middle_2)
        track.patch_before = patch
        track.mouth.append(face_patches.mouth_light(patch))
        track.patch_sum = patch.copy() if track.patch_sum is None else track.patch_sum + patch
        if len(track.mouth) % FRAME_RATE_HZ == 1:
            track.sharp.append(face_patches.sharpness(patch))
        if self.scorer is not None:
            track.waiting.append(face_patches.speaker_patch(picture.luma, box_4))
            if len(track.waiting) == SCORED_FRAMES:
                self._score(track)

    def _score(self, track: _OpenTrack) -> None:
        if self.scorer is not None and track.waiting:
            first = track.first_frame + len(track.mouth) - len(track.waiting)
            track.scored.append(self.scorer(np.stack(track.waiting), first))
            track.waiting.clear()

    def _close(self, track: _OpenTrack, *, end_frame: int | None) -> None:
        """Keep a track if it is long and certain enough. `end_frame`: of its shot, if it may last until then."""
        last = track.frames[-1] + 1
        if end_frame is not None and end_frame - last < 2 * self.follow_every:
            for picture in self.pictures:
                if picture.frame >= last:
                    self._add_patch(track, picture, track.detections[-1].box_4, track.detections[-1].landmarks_52)
            last = end_frame
        self._score(track)
        scores_N = np.array([detection.score for detection in track.detections])
        if (
            len(scores_N) < MIN_DETECTIONS
            or (last - track.frames[0]) * FRAME_MS < self.params.min_track_ms
            or scores_N.mean() < MIN_SCORE
        ):
            return
        scale_2 = np.array(self.size) / self.small_size
        assert track.patch_sum is not None
        embedding_E = np.mean(track.embeddings, axis=0) if track.embeddings else None
        if embedding_E is not None:
            embedding_E /= max(float(np.linalg.norm(embedding_E)), 1e-9)
        self.tracks.append(
            FaceTrack(
                shot=track.shot, setup=0, start_ms=track.frames[0] * FRAME_MS, end_ms=last * FRAME_MS,
                times_N=np.array(track.frames, np.int64) * FRAME_MS,
                boxes_N4=np.stack([detection.box_4 for detection in track.detections]) * np.tile(scale_2, 2),
                landmarks_N52=np.stack([detection.landmarks_52 for detection in track.detections]) * scale_2,
                scores_N=scores_N, first_frame=track.frames[0], mouth_TB=np.stack(track.mouth),
                motion_T=np.array(track.motion, np.float32),
                asd_T=np.concatenate(track.scored) if track.scored else None,
                patch_HW=track.patch_sum / len(track.mouth),
                change=float(np.quantile(track.changes, OFTEN)) if track.changes else float("nan"),
                sharpness=float(np.median(track.sharp)), frontal_share=float(np.mean(track.frontal)),
                colours_R3=_median(track.colours),
                embedding_E=embedding_E,
            )
        )  # fmt: skip


def _median(colours: Sequence[np.ndarray]) -> np.ndarray:
    """Median of each number that is known at least once; else NaN."""
    stacked = np.stack(colours)
    known = ~np.isnan(stacked).all(0)
    median = np.full(stacked.shape[1:], np.nan, np.float32)
    median[known] = np.nanmedian(stacked[:, known], axis=0)
    return median


def _listed(found: Detections, move_2: np.ndarray, scale: float = 1.0) -> list[_Detection]:
    return [
        _Detection(box_4 * scale + np.tile(move_2, 2), landmarks_52 * scale + move_2, float(score))
        for box_4, landmarks_52, score in zip(found.boxes_N4, found.landmarks_N52, found.scores_N, strict=True)
    ]


def _look_around(rgb_HWC: np.ndarray, box_4: np.ndarray) -> list[_Detection]:
    """The faces around the place of a known one, which is scaled to a good size for the detector."""
    side = max(8, round(AROUND * float(max(box_4[2] - box_4[0], box_4[3] - box_4[1]))))
    left, top = (int(round(middle - side / 2)) for middle in ((box_4[0] + box_4[2]) / 2, (box_4[1] + box_4[3]) / 2))
    height, width = rgb_HWC.shape[:2]
    inside = rgb_HWC[max(0, top) : max(0, min(height, top + side)), max(0, left) : max(0, min(width, left + side))]
    if not inside.size:
        return []
    part = np.zeros((side, side, 3), np.uint8)
    part[max(0, -top) : max(0, -top) + inside.shape[0], max(0, -left) : max(0, -left) + inside.shape[1]] = inside
    return _listed(detect_faces(part, AROUND_SIDE), np.array([left, top], float))


def overlap(one_4: np.ndarray, other_4: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    shared = np.prod(np.maximum(0, np.minimum(one_4[2:], other_4[2:]) - np.maximum(one_4[:2], other_4[:2])))
    areas = np.prod(one_4[2:] - one_4[:2]) + np.prod(other_4[2:] - other_4[:2])
    return float(shared / max(areas - shared, 1e-9))


def _without_doubles(detections: Sequence[_Detection], known: Sequence[_Detection]) -> list[_Detection]:
    """Those that are not the same face as a known one, or as a surer one among them."""
    kept: list[_Detection] = []
    for detection in sorted(detections, key=lambda detection: -detection.score):
        if all(overlap(detection.box_4, other.box_4) < 0.4 for other in (*known, *kept)):
            kept.append(detection)
    return kept


def _join(tracks: Sequence[_OpenTrack], found: Sequence[_Detection]) -> dict[int, int]:
    """Index of a track -> index of the detection that goes on with it; each at most once, at the least cost in all."""
    if not tracks or not found:
        return {}
    costs = np.array([[_cost(track.detections[-1], detection) for detection in found] for track in tracks])
    rows, columns = linear_sum_assignment(costs)
    return {
        int(row): int(column) for row, column in zip(rows, columns, strict=True) if costs[row, column] < _IMPOSSIBLE
    }


_IMPOSSIBLE = 1e6


def _cost(before: _Detection, now: _Detection) -> float:
    """How unlike two detections are in place and landmarks: 0 to 2, or _IMPOSSIBLE."""
    size, size_now = (float(np.sqrt(max(np.prod(box[2:] - box[:2]), 1e-9))) for box in (before.box_4, now.box_4))
    shared = overlap(before.box_4, now.box_4)
    moved = np.hypot(*((now.box_4[:2] + now.box_4[2:] - before.box_4[:2] - before.box_4[2:]) / 2)) / size
    if max(size / size_now, size_now / size) > MAX_GROWTH or (shared < MIN_IOU and moved > MAX_MOVE):
        return _IMPOSSIBLE
    apart = np.hypot(*(now.landmarks_52 - before.landmarks_52).T).mean() / size
    return 1 - shared + min(1.0, float(apart))
