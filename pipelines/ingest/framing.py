"""How the picture of a row is put into its track: which part is cut off, or how much border there is.

A picture of another shape than the tracks loses its edges (`ingest.fit: cut`). The part that stays is the one with the
face: YuNet finds it in a few keyframes, and the largest face of each counts. If a face is too large for that part, more
of the picture is shown, and the rest of the frame is border. Without any face, the middle stays. With `ingest.fit: pad`
nothing is cut off. The part does not move within a track.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import floor
from typing import Any

from pipelines.media.ffmpeg import Source
from pipelines.media.framing import CENTRE, Framing, Rect
from pipelines.media.stills import stills
from pipelines.signals.faces import LONGER_SIDE, Face, find_faces

NEARLY_ALL = 0.95  # smaller cuts are made around the centre, without a look at faces, and without a warning
STILL_EVERY_MS = 15_000
MIN_STILLS, MAX_STILLS = 8, 24
BLANK_STILLS = 5  # after this many stills without any face, no more are looked at
OUTLIERS = 8  # of this many faces, one may be cut: a false detection, or someone who stands up
HAIR, NECK, EARS = 0.3, 0.15, 0.1  # added to a box from forehead to chin, in shares of its height and width
SLACK = 0.01  # of the picture: an edge of a face is not known better
EYES_AT = 0.45  # where the middle of a face is put: share of the height of what is shown


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """How one picture is put into its track, and the figures for the table `tracks`."""

    framing: Framing
    shape: tuple[int, int]  # width and height of the source's picture, or of its crop
    picture: Rect  # of the track that shows the picture; the rest is border
    kept_share: float  # of the area of the picture
    faces_kept_share: float | None  # of stills with a face; None: none has one, or they were not looked at


def fitted_columns(fitted: Fitted | None) -> dict[str, Any]:
    """The columns of `tracks` about this; None: no video."""
    return {
        "source_width": fitted.shape[0] if fitted else None,
        "source_height": fitted.shape[1] if fitted else None,
        "picture": fitted.picture._asdict() if fitted else None,
        "picture_kept_share": round(fitted.kept_share, 4) if fitted else None,
        "faces_kept_share": fitted.faces_kept_share if fitted else None,
    }


def fit_picture(
    source: Source,
    size: tuple[int, int],
    crop: Rect | None,
    frame: tuple[int, int],
    *,
    cut: bool,
    begin_ms: int,
    end_ms: int,
) -> Fitted:
    """Decide how a source's picture is put into the frame of its track.

    Args:
        size: Of the displayed picture of the source, in pixels.
        crop: The part of it that shows this person; None: all of it.
        frame: Width and height of the tracks.
        cut: Whether edges may be cut off; otherwise there is a border.
        begin_ms: The track's beginning and end on the clock of the file.
    """
    part = crop or Rect(0, 0, *size)
    shape = part.width, part.height
    framing, faces_kept_share = CENTRE, None
    if cut and loses_edges(shape, frame):
        faces = list(_largest_faces(source, size, part, begin_ms, end_ms))
        framing, faces_kept_share = keep_faces(faces, shape, frame)
    elif not cut and framing.scaled_size(shape, frame) != frame:
        framing = Framing(zoom=0.0)
    return Fitted(
        framing=framing, shape=shape, picture=framing.picture_in_frame(shape, frame),
        kept_share=framing.kept_share(shape, frame), faces_kept_share=faces_kept_share,
    )  # fmt: skip


def loses_edges(shape: tuple[int, int], frame: tuple[int, int]) -> bool:
    """Whether so much of a picture of this width and height is cut off that its faces are looked for."""
    return CENTRE.kept_share(shape, frame) < NEARLY_ALL


def num_stills(length_ms: int) -> int:
    """In how many pictures of a track of this length faces are looked for."""
    return min(MAX_STILLS, max(MIN_STILLS, length_ms // STILL_EVERY_MS))


def _largest_faces(source: Source, size: tuple[int, int], part: Rect, begin_ms: int, end_ms: int) -> Iterator[Face]:
    """The largest face of each still that has one."""
    count = num_stills(end_ms - begin_ms)
    # From all over the track from the beginning, so that a look at the first few is a look at all of it.
    order = sorted(range(count), key=lambda number: (number % 3, number))
    times_ms = [begin_ms + (end_ms - begin_ms) * (2 * number + 1) // (2 * count) for number in order]
    pictures = stills(source, times_ms, size, part, LONGER_SIDE)
    first = [find_faces(picture) for picture in islice(pictures, BLANK_STILLS)]
    if not any(first):
        return
    yield from (faces[0] for faces in first if faces)
    yield from (faces[0] for faces in map(find_faces, pictures) if faces)


def keep_faces(faces: Sequence[Face], picture: tuple[int, int], frame: tuple[int, int]) -> tuple[Framing, float | None]:
    """The framing that cuts off the least of these faces, and the share of them that is not cut at all.

    The picture covers the frame if all faces but outliers fit into what stays. Otherwise it is made smaller until they
    do. Heads are kept too where there is room.
    """
    width, height = CENTRE.scaled_size(picture, frame)
    down = height > frame[1]  # the direction in which the picture is cut
    shown = frame[1] / height if down else frame[0] / width  # share of the picture, in that direction
    if not faces:
        return CENTRE, None
    spans = [_clipped(face.top, face.bottom) if down else _clipped(face.left, face.right) for face in faces]
    heads = [
        _clipped(
            *((face.top - HAIR * (face.bottom - face.top), face.bottom + NECK * (face.bottom - face.top)) if down
              else (face.left - EARS * (face.right - face.left), face.right + EARS * (face.right - face.left)))
        )
        for face in faces
    ]  # fmt: skip
    needed = len(spans) - len(spans) // OUTLIERS
    length = min(1.0, max(shown, _shortest(spans, needed)))
    # Two decimals: what YuNet finds differs in the last digits between kinds of processors.
    zoom = 1.0 if length == shown else max(floor(100 * shown / length) / 100, round(shown, 4))
    length = shown / zoom
    middles = sorted((begin + end) / 2 for begin, end in spans)
    wished = middles[len(middles) // 2] - (EYES_AT if down else 0.5) * length
    start = _best_start(spans, heads, length, wished)
    share = round(start / (1 - length), 2) if length < 1 else 0.5
    kept = sum(_inside(span, share * (1 - length), length, SLACK) for span in spans) / len(spans)
    place = {"y": share} if down else {"x": share}
    return Framing(zoom=zoom, **place), round(kept, 4)


def _clipped(begin: float, end: float) -> tuple[float, float]:
    return min(1.0, max(0.0, begin)), min(1.0, max(0.0, end))


def _inside(span: tuple[float, float], start: float, length: float, slack: float = 1e-6) -> bool:
    return start - slack <= span[0] and span[1] <= start + length + slack


def _shortest(spans: Sequence[tuple[float, float]], needed: int) -> float:
    """Length of the shortest part that has `needed` of these spans in it."""
    lengths = []
    for start, _ in spans:
        ends = sorted(end for begin, end in spans if begin >= start)
        if len(ends) >= needed:
            lengths.append(ends[needed - 1] - start)
    return min(lengths)


def _best_start(
    spans: Sequence[tuple[float, float]], heads: Sequence[tuple[float, float]], length: float, wished: float
) -> float:
    """Where the part of this length begins: most faces, then most heads are whole, then nearest to the wish."""
    edges = [edge for begin, end in (*spans, *heads) for edge in (begin, end - length)]
    starts = [min(max(0.0, start), 1 - length) for start in (wished, *edges)]
    return max(
        starts,
        key=lambda start: (
            sum(_inside(span, start, length) for span in spans),
            sum(_inside(head, start, length) for head in heads),
            -abs(start - wished),
        ),
    )
