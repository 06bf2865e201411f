"""Tables of the ingest stage: sessions, tracks, and what the stages rejected."""

import pyarrow as pa

from schemas.fields import (
    CONSENT,
    END_MS,
    LICENCE,
    MS,
    PARTICIPANT,
    REAL,
    RECT,
    SESSION,
    SPANS,
    SPEAKER,
    SPLIT,
    START_MS,
    TEXT,
    UNIT,
    Table,
    field,
)

CLOCK = pa.struct(
    [
        pa.field("reference", TEXT, nullable=False),
        pa.field("finding", TEXT, nullable=False),
        pa.field("offset_ms", REAL),
        pa.field("drift_ppm", REAL),
        pa.field("drift_error_ppm", REAL),
        pa.field("confidence", REAL, nullable=False),
        pa.field("num_jumps", pa.int32(), nullable=False),
        pa.field("apart_ms", REAL),
        pa.field("corrected", pa.bool_(), nullable=False),
    ]
)
CLOCK_FIELDS = (
    "`reference`: the participant whose sound it is compared with. `finding`: measured; or cannot tell: silent, "
    "too_short, unrelated, one_way (one person's voice only), clock_jumps. `offset_ms`: "
    "the file began this much later than the manifest states (ms). `drift_ppm`: its clock runs this much faster "
    "(ppm); null: its standard error, `drift_error_ppm`, is too large. `confidence`: share of the compared "
    "windows that agree, 0 to 1. `num_jumps`: steps of the clock. `apart_ms`: the farthest that the sound lies "
    "from the reference in the tracks (ms, positive: later). `corrected`: true: the tracks were made with the "
    "measured offset and drift"
)

SESSIONS = Table(
    name="sessions",
    stage="ingest",
    meaning="One recorded conversation on one clock.",
    key=("session_id",),
    fields=(
        SESSION,
        SPLIT,
        field("layout", TEXT, "per_participant, split_screen, mixed or audio_only"),
        field("language", TEXT, "BCP 47 tag from the manifest", nullable=True),
        LICENCE,
        field("num_participants", pa.int16(), "tracks in the session"),
        field(
            "origin_ms",
            MS,
            "start of the tracks on the source's session clock; it is time 0 in all other tables",
            unit="ms",
        ),
        field("num_units", UNIT, "length shared by all tracks", unit="160 ms units"),
        field("duration_ms", MS, "num_units x 160", unit="ms"),
        field(
            "source_sha256",
            TEXT,
            "hash of the content of all source files of the session; for remote files, of the checksums of their store",
        ),
    ),
)

TRACKS = Table(
    name="tracks",
    stage="ingest",
    meaning="One participant's media: constant 25 fps video and mono audio, same start, same length, whole units.",
    key=("session_id", "participant"),
    fields=(
        SESSION,
        PARTICIPANT,
        SPEAKER,
        SPLIT,
        LICENCE,
        CONSENT,
        field(
            "partners",
            pa.list_(pa.field("element", TEXT)),
            "participants this one talks with, from the manifest; null: not in the manifest",
            nullable=True,
        ),
        field("language", TEXT, "BCP 47 tag from the manifest", nullable=True),
        field("num_units", UNIT, "length of the track", unit="160 ms units"),
        field(
            "video_path", TEXT, "H.264, closed GOP of one unit, below the data folder; null: no video", nullable=True
        ),
        field("video_sha256", TEXT, "hash of the video file", nullable=True),
        field("width", pa.int32(), "video width", unit="pixels", nullable=True),
        field("height", pa.int32(), "video height", unit="pixels", nullable=True),
        field(
            "source_width",
            pa.int32(),
            "width of the source's picture, or of its crop (of one that moves, the median); null: no video",
            unit="pixels",
            nullable=True,
        ),
        field("source_height", pa.int32(), "its height", unit="pixels", nullable=True),
        field(
            "picture",
            RECT,
            "the part of the video that shows the source's picture; the rest is a grey border; null: no video",
            unit="pixels",
            nullable=True,
        ),
        field(
            "picture_kept_share",
            pa.float32(),
            "share of the source's picture, or of its crop, that the track shows; below 1: edges are cut off; null: no "
            "video",
            nullable=True,
        ),
        field(
            "faces_kept_share",
            pa.float32(),
            "of up to 24 stills in which a face is found, the share in which the track shows the whole face (the "
            "largest); null: none is found, or hardly anything is cut off",
            nullable=True,
        ),
        field(
            "visible",
            SPANS,
            "where the video shows the person; the rest is grey, as in another shot of an edited recording. null: "
            "throughout, as of all participants who have a recording of their own, or no video",
            unit="ms",
            nullable=True,
        ),
        field("audio_path", TEXT, "16-bit mono WAV below the data folder; null: no audio", nullable=True),
        field("audio_sha256", TEXT, "hash of the audio file", nullable=True),
        field("rate_hz", pa.int32(), "audio sample rate", unit="Hz", nullable=True),
        field(
            "words_sha256",
            TEXT,
            "hash of its rows in `sidecar_words`; null: no word file, or not readable",
            nullable=True,
        ),
        field(
            "mixed",
            SPANS,
            "where this audio contains several participants at once: overlaps in an RTTM or of found people, speech of "
            "a third voice, or all of a shared mix",
            unit="ms",
        ),
        field(
            "attributed",
            pa.bool_(),
            "true: speech in the audio is this participant's; false: unknown, a shared mix without RTTM",
        ),
        field(
            "audio_filled_ms",
            MS,
            "time in the track for which the source has no sound: filled with silence; null: no audio",
            unit="ms",
            nullable=True,
        ),
        field(
            "audio_cut_ms",
            MS,
            "sound of the source that was dropped, because its timestamps overlap earlier sound; null: no audio",
            unit="ms",
            nullable=True,
        ),
        field(
            "audio_cancel_ms",
            MS,
            "time in the track in which the channels of the source cancel each other: it has the louder channel there, "
            "and the mix of all elsewhere; null: no audio",
            unit="ms",
            nullable=True,
        ),
        field(
            "video_held_ms",
            MS,
            "time in the track with frames that stand for over 500 ms, as the source has no new ones; null: no video",
            unit="ms",
            nullable=True,
        ),
        field(
            "clock_joins", pa.int32(), "how often the source's timestamps started again and were joined", unit="times"
        ),
        field(
            "camera_clock",
            CLOCK,
            "the clock of the recorder in `audio_uri`, compared with the camera's own sound; null: not two recordings. "
            + CLOCK_FIELDS,
            nullable=True,
        ),
        field(
            "partner_clock",
            CLOCK,
            "the clock of this participant's recorder, compared with that of the first participant, whose voice may be "
            "in both; the same fields; null: the first participant, or the same file",
            nullable=True,
        ),
    ),
)

SIDECAR_WORDS = Table(
    name="sidecar_words",
    stage="ingest",
    meaning="The words that came with a recording, as in its word file; annotate checks them and makes `words`.",
    key=("session_id", "participant", "index"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("index", pa.int32(), "position in the file, in the order of time"),
        START_MS,
        END_MS,
        field("word", TEXT, "as written"),
    ),
)

REJECTIONS = Table(
    name="rejections",
    stage="all",
    meaning="Everything that a stage could not use.",
    key=("stage", "key", "reason", "detail"),
    fields=(
        field("stage", TEXT, "the stage that rejected it"),
        field("key", TEXT, "session_id, session_id/participant, or a more detailed key"),
        field("reason", TEXT, "a countable word"),
        field("detail", TEXT, "figures and paths; never transcript text"),
        field("count", pa.int64(), "how often this was rejected"),
    ),
)
