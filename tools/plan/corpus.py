"""A source -> what will become of its sessions: kept, or rejected by which stage and why; and their amounts of work.

Only headers are read, and every check is the stage's own. What a stage finds by decoding is not known here: damaged
media, poor quality, duplicates, people who speak at the same time.
"""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.engine.forgotten import forgotten
from pipelines.engine.jobs import Rejected
from pipelines.engine.remote import PARALLEL_REQUESTS, folder_at, is_remote_uri, reachable
from pipelines.engine.tables import rows_by_session
from pipelines.ingest.clocks import FileClock, stated_clocks
from pipelines.ingest.conform import check_streams, units_in_common
from pipelines.ingest.filling import filled_lengths
from pipelines.ingest.framing import loses_edges, num_stills
from pipelines.ingest.params import IngestParams
from pipelines.ingest.stage import check_people, check_usable, session_split
from pipelines.media.probing import Header, check_file, read_header
from pipelines.pack.params import PackParams
from pipelines.pack.role_views import role_pairs
from pipelines.pack.stage import reject_unusable, window_starts
from pipelines.sources.find import find_sources
from pipelines.sources.row import FOUND_PARTICIPANTS, SourceRow, is_nameless, nameless_recording
from pipelines.sources.session_files import files_of
from tools.plan.amounts import Amounts, total
from wanstreamer.clock import UNIT_MS

READERS_PER_CORE = 2  # a reader waits for the disk about as long as it works


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What will become of one session."""

    hours: float  # of conversation; 0 if its length is not known
    split: str = ""  # empty if a session is rejected before it is assigned
    stage: str = ""  # the stage that rejects it; empty: kept
    reason: str = ""
    num_units: int = 0
    num_tracks: dict[str, int] = field(default_factory=dict)  # audio, video
    amounts: Amounts = field(default_factory=Amounts)  # of all stages up to the one that rejects it
    notes: tuple[str, ...] = ()  # why its length or its cost is less certain


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What will become of all sessions."""

    source: str
    outlooks: list[Outlook]  # of the sessions whose headers were read
    num_sessions: int  # in the source
    num_files: int  # in the source

    @property
    def share(self) -> float:
        """The share of sessions whose headers were read."""
        return len(self.outlooks) / self.num_sessions

    def amounts(self) -> Amounts:
        return total([outlook.amounts for outlook in self.outlooks]).scaled(1 / self.share)

    def longest(self) -> Amounts:
        """The longest session: no stage ends earlier than its work."""
        return max((outlook.amounts for outlook in self.outlooks), key=lambda amounts: amounts.session_s)

    def summary(self) -> dict[str, Any]:
        """Counts and hours; the ids of sessions do not appear in it."""
        kept = [outlook for outlook in self.outlooks if not outlook.stage]
        rejected: dict[str, dict[str, dict[str, float]]] = {}
        for outlook in self.outlooks:
            if outlook.stage:
                entry = rejected.setdefault(outlook.stage, {}).setdefault(outlook.reason, {"sessions": 0, "hours": 0.0})
                entry["sessions"] += 1 / self.share
                entry["hours"] += outlook.hours / self.share
        hours: defaultdict[str, float] = defaultdict(float)
        for outlook in kept:
            hours[outlook.split] += outlook.hours / self.share
        notes = Counter(note for outlook in self.outlooks for note in outlook.notes)
        return {
            "sessions": self.num_sessions,
            "files": self.num_files,
            "headers_read": len(self.outlooks),
            "hours": sum(outlook.hours for outlook in self.outlooks) / self.share,
            "kept_sessions": len(kept) / self.share,
            "kept_hours": sum(hours.values()),
            "hours_after": {  # a stage
                "ingest": sum(outlook.hours for outlook in self.outlooks if outlook.stage != "ingest") / self.share,
                "pack": sum(hours.values()),
            },
            "kept_hours_by_split": dict(sorted(hours.items())),
            "rejected": {stage: dict(sorted(reasons.items())) for stage, reasons in sorted(rejected.items())},
            "notes": {note: count / self.share for note, count in sorted(notes.items())},
        }


def look_at(
    data: Path,
    ingest: IngestParams,
    pack: PackParams,
    *,
    codecs: Mapping[str, float],
    most: int = 0,
    advance: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> Corpus:
    """Read the headers of a source.

    Args:
        data: The data folder, which lists the people who asked to be forgotten.
        ingest: Where the source is, and what its tracks will look like.
        pack: Which windows will be cut.
        codecs: How long a pixel of each video codec takes to decode, compared with H.264.
        most: At most so many sessions, chosen at random; 0: all.
        advance: Gets the number of sessions; what it returns is called after each of them.

    Raises:
        InputError: As `find_sources`.
    """
    source = folder_at(ingest.source) if ingest.source else data / "sources"
    root, rows = find_sources(source, ingest.layout, warn=False)
    remote = is_remote_uri(root)
    sessions = [
        [SourceRow(**row) for row in group] for group in rows_by_session([asdict(row) for row in rows]).values()
    ]
    chosen = random.Random(0).sample(sessions, most) if 0 < most < len(sessions) else sessions
    gone = forgotten(data)
    done = advance(len(chosen))

    def look(session: Sequence[SourceRow]) -> Outlook:
        outlook = _outlook(root, _as_dyad(session), ingest, pack, gone, codecs)
        if is_nameless(session):
            outlook = replace(outlook, notes=(*outlook.notes, "its people must be found first; counted as a dyad"))
        done()
        return outlook

    readers = PARALLEL_REQUESTS if remote else READERS_PER_CORE * (os.cpu_count() or 1)
    with reachable(root), ThreadPoolExecutor(readers) as pool:
        outlooks = list(pool.map(look, chosen))
    files = files_of([row for session in sessions for row in _as_dyad(session)])
    return Corpus(source=str(source), outlooks=outlooks, num_sessions=len(sessions), num_files=len(files))


def _as_dyad(session: Sequence[SourceRow]) -> Sequence[SourceRow]:
    """The rows of a session; of a recording that names no participants, those of two people as the stage `people` may
    find them, each with their own speech."""
    recording = nameless_recording(session)
    if recording is None:
        return session
    return [replace(recording, participant=who, audio_kind="own") for who in FOUND_PARTICIPANTS]


def _outlook(
    root: Path,
    rows: Sequence[SourceRow],
    ingest: IngestParams,
    pack: PackParams,
    gone: frozenset[str],
    codecs: Mapping[str, float],
) -> Outlook:
    """The checks of ingest, then those of pack, in their order."""
    headers: list[tuple[Header, Header]] = []
    late: Rejected | None = None  # found in a header, but the consent of people counts first
    num_units = 0
    try:
        check_usable(rows)
        headers = [_read(root, row) for row in rows]
        for row, (picture, sound) in zip(rows, headers, strict=True):
            check_streams(row, has_video=bool(picture.video_ms), channels=sound.channels)
        _, num_units = units_in_common(
            [each for row, pair in zip(rows, headers, strict=True) for each in _lengths_ms(row, *pair)]
        )
    except Rejected as rejected:
        late = rejected
    hours = num_units * UNIT_MS / 3_600_000
    notes = _notes(headers, codecs)
    try:
        check_usable(rows)
        split = session_split(rows, ingest)
        check_people(rows, gone)
        for name in files_of(rows):
            _check_there(root / name)
        if late is not None:
            raise late
    except Rejected as rejected:
        return Outlook(hours=hours, stage="ingest", reason=rejected.reason, notes=notes)
    amounts = _amounts(rows, headers, num_units, codecs, ingest)
    num_tracks = {"audio": int(amounts.audio_tracks), "video": int(amounts.video_tracks)}
    known: dict[str, Any] = {
        "hours": hours, "split": split, "num_units": num_units, "num_tracks": num_tracks, "notes": notes,
    }  # fmt: skip
    spec = _pack_spec(rows, num_units)
    try:
        reject_unusable(spec, pack)
    except Rejected as rejected:
        return Outlook(stage="pack", reason=rejected.reason, amounts=amounts, **known)
    windows = len(role_pairs(spec)) * len(window_starts(num_units, pack.window_units, pack.stride_units))
    return Outlook(amounts=amounts + Amounts(windows=windows), **known)


def _read(root: Path, row: SourceRow) -> tuple[Header, Header]:
    """The headers of the file with the picture and of the file with the sound, as ingest chooses their streams."""
    picture = read_header(
        root / row.uri,
        language=row.language,
        video_stream=row.video_stream,
        audio_stream=None if row.audio_uri else row.audio_stream,
    )
    if not row.audio_uri:
        return picture, picture
    return picture, read_header(root / row.audio_uri, language=row.language, audio_stream=row.audio_stream)


def _check_there(path: Path) -> None:
    """Word files and RTTM files have no header, but must exist too."""
    if isinstance(path, type(Path())):
        check_file(path)
    elif not path.is_file():
        raise Rejected("missing_file", str(path))


def _lengths_ms(row: SourceRow, picture: Header, sound: Header) -> list[tuple[FileClock, int]]:
    clocks = stated_clocks(row)
    lengths = ((clocks.picture, picture.video_ms), (clocks.sound, sound.audio_ms))
    return filled_lengths([(clock, length_ms) for clock, length_ms in lengths if length_ms] or [(clocks.sound, 0)])


def _amounts(
    rows: Sequence[SourceRow],
    headers: Sequence[tuple[Header, Header]],
    num_units: int,
    codecs: Mapping[str, float],
    ingest: IngestParams,
) -> Amounts:
    seconds = num_units * UNIT_MS / 1000
    parts = [Amounts(sessions=1, session_s=seconds)]
    for row, (picture, sound) in zip(rows, headers, strict=True):
        mpx = picture.width * picture.height * picture.frames_per_s * picture.video_ms / 1e9
        decoding = codecs.get(picture.video_codec, 1.0)
        attributed = row.audio_kind == "own" or row.rttm_uri is not None
        parts.append(
            Amounts(
                video_tracks=bool(picture.video_ms),
                audio_tracks=bool(sound.audio_ms),
                video_s=seconds * bool(picture.video_ms),
                audio_s=seconds * bool(sound.audio_ms),
                spoken_s=seconds * (bool(sound.audio_ms) and attributed),
                video_mb=picture.video_bytes / 1e6 * decoding,
                source_mpx=mpx * decoding,
                stills=_num_stills(row, picture, seconds, ingest),
            )
        )
    return total(parts)


def _num_stills(row: SourceRow, picture: Header, seconds: float, ingest: IngestParams) -> int:
    """In how many stills ingest looks for faces: none if hardly anything of the picture is cut off."""
    shape = (row.crop[2], row.crop[3]) if row.crop else (picture.width, picture.height)
    if not picture.video_ms or ingest.fit != "cut" or not loses_edges(shape, (ingest.width, ingest.height)):
        return 0
    return num_stills(round(1000 * seconds))


def _notes(headers: Sequence[tuple[Header, Header]], codecs: Mapping[str, float]) -> tuple[str, ...]:
    notes = set()
    for pair in headers:
        if any(header.guessed for header in pair):
            notes.add("length guessed from the size of the file")
        codec = pair[0].video_codec
        if codec and codec not in codecs:
            notes.add(f"video codec {codec} not measured, counted as h264")
    return tuple(sorted(notes))


def _pack_spec(rows: Sequence[SourceRow], num_units: int) -> dict[str, Any]:
    """What pack would know of the session if every stage before it used all of its tracks."""
    tracks = {
        row.participant: {"num_units": num_units, "consent": row.consent, "partners": row.partners} for row in rows
    }
    return {
        "tracks": tracks,
        "latents": tracks,
        "units": dict.fromkeys(tracks, range(num_units)),
        "num_units": num_units,
        "poor": [],
    }
