"""Tracks of faces -> whose they are, across shots and times, and which of them are no people.

With the weights of a face embedding, tracks of one person are those with alike embeddings. Without, they are compared
by place and size where the camera is the same, and by the colours of hair, skin and clothes, and the mean face,
anywhere. This is weaker; `certainty` says how far an identity is from the next. Two faces that are seen at the same
time are never one person, with one exception: of two that move in step (a mirror, a picture in a picture) the smaller
is a copy. A face that never moves or changes is a poster.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipelines.people.face_patches import mirrored
from pipelines.people.face_tracks import FaceTrack
from pipelines.people.faces_params import FacesParams
from pipelines.people.shots import Shot, same_setup
from pipelines.signals.curves import quick
from pipelines.signals.face_embedding import SAME_PERSON
from wanstreamer.clock import FRAME_RATE_HZ, Span, merge_spans

SAME_LOOK = 1.0  # largest distance of tracks of one person; `_look_distance` is in these units
COLOUR_STEP = 14.0  # grey levels of difference in colours that count as 1
BRIGHTNESS_WEIGHT = 0.35  # light changes with the camera and the place more than colours do
FACE_STEP = 0.4  # 1 - correlation of two mean faces that counts as 1
PLACE_STEP = 1.2  # distance, in sizes of the face, that counts as 1 in the same set-up
PLACE_WEIGHT = 0.25  # share of the distance that goes for a face at the same place
MIN_TOGETHER_MS = 400  # of two tracks that are seen at the same time
MIN_COPY_S = 3.0  # two faces that move in step for less may do so by chance
MIN_PART_S = 1.0  # of them, at a time
COPY_SURE_LOOK = 0.6  # faces that differ by less need not move in step as much
COPY_LOOK = 0.85  # largest distance of a face and its copy; captions may run over the mouths of two people
COPY_LAG = 10  # pictures by which a picture in a picture may be late
MIN_STILL_S = 2.0  # a person may be still for less
MOST_CERTAIN = 0.9  # without a face embedding
MOTION_NOISE = 0.004  # of `mouth_TB`: below, nothing moves


@dataclass(frozen=True, kw_only=True, eq=False)
class Identity:
    """One face throughout a recording."""

    tracks: tuple[FaceTrack, ...]  # by start
    share: float  # of the recording in which it is seen
    is_static: bool  # a poster: it never moves or changes
    copy_of: int | None  # index of the identity whose mirror image or picture in a picture this is
    certainty: float  # 0 to 1: how much nearer its tracks are to each other than to other identities

    @property
    def is_person(self) -> bool:
        return not self.is_static and self.copy_of is None


@dataclass(kw_only=True, eq=False)
class _Group:
    """Tracks that are taken for one face."""

    tracks: list[FaceTrack] = field(default_factory=list)
    is_static: bool = False
    original: "_Group | None" = None  # that this is a copy of

    @property
    def is_person(self) -> bool:
        return not self.is_static and self.original is None

    @property
    def first(self) -> "_Group":
        """What a copy, or a copy of a copy, is a copy of."""
        return self if self.original is None else self.original.first

    @property
    def size(self) -> float:
        return float(np.average([track.size for track in self.tracks], weights=self.weights))

    @property
    def weights(self) -> list[int]:
        return [max(1, track.duration_ms) for track in self.tracks]


def identify(
    tracks: Sequence[FaceTrack], shots: Sequence[Shot], params: FacesParams, *, duration_ms: int
) -> tuple[Identity, ...]:
    """The faces of a recording, those seen for longest first. Each track belongs to one."""
    near = _Likeness(shots)
    copies = _copies(tracks, params)
    by_kind: dict[str, list[FaceTrack]] = {"person": [], "static": [], "copy": []}
    for place, track in enumerate(tracks):
        is_static = track.duration_ms >= 1000 * MIN_STILL_S and track.change < params.still_change
        by_kind["static" if is_static else "copy" if place in copies else "person"].append(track)
    people, posters, mirrors = (_grouped(by_kind[kind], near) for kind in ("person", "static", "copy"))
    for poster in posters:
        poster.is_static = True
    groups = _with_homes(people, posters, near)
    home_of = {id(track): group for group in groups for track in group.tracks}
    for mirror in mirrors:
        homes = [home_of[id(tracks[copies[place]])] for place, track in enumerate(tracks) if track in mirror.tracks]
        mirror.original = max(homes, key=homes.count)
    groups += mirrors
    _mark_copies(groups, params)
    _join_by_copies(groups, near)
    groups = sorted(groups, key=lambda group: (-_seen_ms(group.tracks), group.tracks[0].start_ms))
    return tuple(
        Identity(
            tracks=tuple(sorted(group.tracks, key=lambda track: track.start_ms)),
            share=round(_seen_ms(group.tracks) / max(1, duration_ms), 4),
            is_static=group.is_static,
            copy_of=None if group.original is None else groups.index(group.original),
            certainty=near.certainty(group, groups),
        )
        for group in groups
    )


def _with_homes(people: Sequence[_Group], posters: Sequence[_Group], near: "_Likeness") -> list[_Group]:
    """All groups, once what was seen for too short or moved too little has joined the group that it looks like.

    A still track may be that of a person who listens: it is, if its person moves elsewhere in the recording. A track
    that is too short for motion may be that of a poster that is seen for longer elsewhere.
    """
    kept = [*people, *posters]
    for group, homes in [(poster, people) for poster in posters] + [
        (group, posters) for group in people if all(np.isnan(track.change) for track in group.tracks)
    ]:
        distances = [
            (near.of_groups(group, other), place)
            for place, other in enumerate(kept)
            if other is not group and not seen_together(other.tracks, group.tracks)
        ]
        distance, place = min(distances, default=(np.inf, 0))
        if distance < SAME_LOOK and any(kept[place] is home for home in homes):
            kept[place].tracks += group.tracks
            kept = [other for other in kept if other is not group]
    return kept


def _mark_copies(groups: Sequence[_Group], params: FacesParams) -> None:
    """Find the copies that are seen for too short at a time, as in a call that shows the speaker in large, too."""
    people = sorted((group for group in groups if group.is_person), key=lambda group: -group.size)
    for rank, small in enumerate(people):
        for large in people[:rank]:
            if large.original is not None:
                continue
            pairs = [
                (one, other)
                for one in small.tracks
                for other in large.tracks
                if one.shot == other.shot and _together_ms(one, other) >= 1000 * MIN_PART_S
            ]
            if sum(_together_ms(*pair) for pair in pairs) >= 1000 * MIN_COPY_S and _is_copy(pairs, params):
                small.original = large
                _move_single(small, large)
                break


def _move_single(copy: _Group, original: _Group) -> None:
    """Where only the copy is seen, it is the person."""
    original.tracks += [track for track in copy.tracks if not seen_together([track], original.tracks)]
    copy.tracks = [track for track in copy.tracks if track not in original.tracks]


def _join_by_copies(groups: list[_Group], near: "_Likeness") -> None:
    """What looks most like the copy of a person is that person, where the person is not seen otherwise."""
    for copy in groups:
        copy.original = copy.original and copy.original.first
    for group in [group for group in groups if group.is_person]:
        copies = [copy for copy in groups if copy.original not in (None, group)]
        copy = min(copies, key=lambda copy: near.of_groups(group, copy), default=group)
        distance, original = near.of_groups(group, copy), copy.original
        if original is None:
            continue
        together_ms = sum(track.duration_ms for track in group.tracks if seen_together([track], original.tracks))
        if distance >= SAME_LOOK or together_ms >= 0.5 * _seen_ms(group.tracks):
            continue
        if all(distance <= near.of_groups(group, other) for other in groups if other.is_person and other is not group):
            for other in groups:
                other.original = original if other.original is group else other.original
            group.original = original
            _move_single(group, original)
    groups[:] = [group for group in groups if group.tracks]


def _seen_ms(tracks: Sequence[FaceTrack]) -> int:
    return sum(span.duration_ms for span in merge_spans(Span(track.start_ms, track.end_ms) for track in tracks))


def _grouped(tracks: Sequence[FaceTrack], near: "_Likeness") -> list[_Group]:
    """Join tracks: first shots with many faces, which are different people; then groups that are alike.

    Within a shot, faces are assigned to groups one to one (Hungarian) unless they are seen at different times.
    """
    by_shot: dict[int, list[FaceTrack]] = {}
    for track in tracks:
        by_shot.setdefault(track.shot, []).append(track)
    groups: list[_Group] = []
    for shot in sorted(by_shot, key=lambda shot: (-_most_together(by_shot[shot]), -_seen_ms(by_shot[shot]), shot)):
        waiting = sorted(by_shot[shot], key=lambda track: -track.duration_ms)
        while waiting:
            # Those that are seen together with the longest are assigned with it; others after them.
            now = [track for track in waiting if track is waiting[0] or seen_together([track], [waiting[0]])]
            waiting = [track for track in waiting if not any(track is other for other in now)]
            costs = np.full((len(now), len(groups) + len(now)), SAME_LOOK)  # the last columns: a face that is new
            for row, track in enumerate(now):
                for column, group in enumerate(groups):
                    apart = not seen_together(group.tracks, [track])
                    costs[row, column] = min(near.to_group(track, group), 1e6) if apart else 1e6
            for row, column in zip(*linear_sum_assignment(costs), strict=True):
                if column < len(groups) and costs[row, column] < SAME_LOOK:
                    groups[column].tracks.append(now[row])
                else:
                    groups.append(_Group(tracks=[now[row]]))
    return _merged(groups, near)


def _merged(groups: list[_Group], near: "_Likeness") -> list[_Group]:
    """Join the most alike groups that are never seen together, until none are alike."""
    groups = list(groups)
    while len(groups) > 1:
        pairs = [
            (near.of_groups(one, other), first, second)
            for first, one in enumerate(groups)
            for second, other in enumerate(groups[:first])
            if not seen_together(one.tracks, other.tracks)
        ]
        distance, first, second = min(pairs, default=(np.inf, 0, 0))
        if distance >= SAME_LOOK:
            break
        groups[second].tracks += groups.pop(first).tracks
    return groups


def _most_together(tracks: Sequence[FaceTrack]) -> int:
    """How many faces are seen at one time, at most."""
    return max(sum(seen_together([track], [other]) or track is other for other in tracks) for track in tracks)


def seen_together(ones: Sequence[FaceTrack], others: Sequence[FaceTrack]) -> bool:
    """Whether some of these are seen at the same time as some of the others."""
    return any(_together_ms(one, other) >= MIN_TOGETHER_MS for one in ones for other in others)


def _together_ms(one: FaceTrack, other: FaceTrack) -> int:
    return min(one.end_ms, other.end_ms) - max(one.start_ms, other.start_ms) if one is not other else 0


class _Likeness:
    """Distances of tracks; below SAME_LOOK, two may be of one person."""

    def __init__(self, shots: Sequence[Shot]) -> None:
        self.shots = shots
        self.setups: dict[tuple[int, int], bool] = {}

    def of(self, one: FaceTrack, other: FaceTrack) -> float:
        if one.embedding_E is not None and other.embedding_E is not None:
            cosine = float(one.embedding_E @ other.embedding_E)
            return SAME_LOOK * (1 - cosine) / (1 - SAME_PERSON)
        look = _look_distance(one, other)
        if not self._same_setup(one.shot, other.shot):
            return look
        # In one set-up, a face at the place of another is probably the same, unless it looks quite different. Far from
        # it, it may be the same: people change places, in a call too.
        moved = float(np.hypot(*(one.centre - other.centre))) / max(one.size, other.size)
        grown = abs(float(np.log(one.size / other.size)))
        place = min(1.0, (moved + grown) / PLACE_STEP)
        return look * (1 - PLACE_WEIGHT * (1 - place)) + 0.1 * place

    def to_group(self, track: FaceTrack, group: _Group) -> float:
        """Mean distance to the longest tracks, half of it to the nearest of these."""
        longest = sorted(group.tracks, key=lambda other: -other.duration_ms)[:8]
        nearest = sorted(self.of(track, other) for other in longest)
        return 0.5 * nearest[0] + 0.5 * float(np.mean(nearest))

    def of_groups(self, one: _Group, other: _Group) -> float:
        longest = sorted(one.tracks, key=lambda track: -track.duration_ms)[:8]
        weights = [track.duration_ms for track in longest]
        return float(np.average([self.to_group(track, other) for track in longest], weights=weights))

    def certainty(self, group: _Group, groups: Sequence[_Group]) -> float:
        """How much nearer the tracks of a group are to each other than to the next group, 0 to 1."""
        others = [other for other in groups if other is not group]
        limit = 1.0 if any(track.embedding_E is not None for track in group.tracks) else MOST_CERTAIN
        if not others or len(group.tracks) == 1:
            return limit
        values, weights = [], []
        for track in sorted(group.tracks, key=lambda track: -track.duration_ms)[:50]:
            rest = _Group(tracks=[other for other in group.tracks if other is not track])
            own, next_one = self.to_group(track, rest), min(self.to_group(track, other) for other in others)
            values.append(max(0.0, (next_one - own) / max(next_one, own, 1e-9)))
            weights.append(track.duration_ms)
        return round(min(limit, float(np.average(values, weights=weights))), 3)

    def _same_setup(self, one: int, other: int) -> bool:
        if one == other:
            return True
        pair = min(one, other), max(one, other)
        if pair not in self.setups:
            self.setups[pair] = same_setup(self.shots[one], self.shots[other])
        return self.setups[pair]


def _look_distance(one: FaceTrack, other: FaceTrack, *, copy: bool = False) -> float:
    """How different two faces look, without regard to place and size; about 1 for people who look alike.

    `copy`: one may be a mirror image of the other, and the clothes of a copy may be cut off.
    """
    weights = np.array([BRIGHTNESS_WEIGHT, 1, 1])
    apart_R = np.sqrt((((one.colours_R3 - other.colours_R3) * weights) ** 2).sum(1))[: 2 if copy else None]
    apart_R = apart_R[~np.isnan(apart_R)]
    colours = float(np.sqrt((apart_R**2).mean())) / COLOUR_STEP if len(apart_R) else 1.0
    faces = (other.patch_HW, other.patch_HW[:, ::-1]) if copy else (other.patch_HW,)
    alike = max(_correlation(one.patch_HW - one.patch_HW.mean(), face_HW - face_HW.mean()) for face_HW in faces)
    return 0.5 * colours + 0.5 * (1 - alike) / FACE_STEP


def _copies(tracks: Sequence[FaceTrack], params: FacesParams) -> dict[int, int]:
    """Index of a track that moves in step with a larger one at the same time -> index of that one."""
    by_shot: dict[int, list[int]] = {}
    for place in sorted(range(len(tracks)), key=lambda place: (-tracks[place].size, place)):
        by_shot.setdefault(tracks[place].shot, []).append(place)
    copies: dict[int, int] = {}
    for largest_first in by_shot.values():
        for rank, place in enumerate(largest_first):
            for other in largest_first[:rank]:
                if _together_ms(tracks[place], tracks[other]) < 1000 * MIN_COPY_S or {place, other} & copies.keys():
                    continue
                if _is_copy([(tracks[place], tracks[other])], params):
                    copies[place] = other
    return copies


def _is_copy(pairs: Sequence[tuple[FaceTrack, FaceTrack]], params: FacesParams) -> bool:
    """Whether tracks look like those that are seen at the same time, and move in step with them.

    The more alike they look, the less must they move in step: a small face shows little of a mouth.
    """
    lengths = [_together_ms(*pair) for pair in pairs]
    look = float(np.average([_look_distance(*pair, copy=True) for pair in pairs], weights=lengths))
    if look > COPY_LOOK:
        return False
    step = float(np.average([in_step(*pair, least_s=MIN_PART_S) for pair in pairs], weights=lengths))
    return step >= params.copy_correlation * min(1.0, max(0.5, look / COPY_SURE_LOOK))


def in_step(one: FaceTrack, other: FaceTrack, least_s: float = MIN_COPY_S) -> float:
    """How alike two mouths move at the same time, or one and the other in a mirror: -1 to 1; 0 if nothing moves, or if
    they are seen together for less than `least_s`.

    The mean of three correlations: of all strips, of their mean, and of how much the mouth moves. Only motion within
    the faces counts: if the camera moves, two heads move in step, too. Captions that come up over both mouths count
    little.
    """
    first = max(one.first_frame, other.first_frame)
    last = min(one.first_frame + len(one.mouth_TB), other.first_frame + len(other.mouth_TB))
    if last - first < least_s * FRAME_RATE_HZ:
        return 0.0
    parts = [slice(first - track.first_frame, last - track.first_frame) for track in (one, other)]
    ones, others = (
        (_clipped(quick(track.mouth_TB[part], FRAME_RATE_HZ)), _clipped(track.motion_T[part]))
        for track, part in zip((one, other), parts, strict=True)
    )
    if min(float(ones[0].std()), float(others[0].std())) < MOTION_NOISE:
        return 0.0
    return max(_best_correlation(ones, (mouth_TB, others[1])) for mouth_TB in (others[0], mirrored(others[0])))


def _clipped(curves: np.ndarray) -> np.ndarray:
    """Curves over the first axis with mean 0, without what is rare: captions that come and go."""
    centred = curves - np.median(curves, axis=0)
    limit = np.quantile(np.abs(centred), 0.9, axis=0)
    centred = np.clip(centred, -limit, limit)
    return centred - centred.mean(axis=0)


def _best_correlation(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean correlation of strips, their mean, and motion, at the lag at which it is largest."""
    pairs = [(one[0], other[0]), (one[0].mean(1), other[0].mean(1)), (one[1], other[1])]
    length = len(one[0])
    sums = []
    for lag in range(-COPY_LAG, COPY_LAG + 1):
        early, late = slice(max(0, -lag), length - max(0, lag)), slice(max(0, lag), length - max(0, -lag))
        sums.append(sum(_correlation(first[early], second[late]) for first, second in pairs))
    return max(sums) / len(pairs)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two arrays of curves with mean 0."""
    return float((one * other).sum() / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9))
