"""Table of the ingest stage: from which files each track was made, and how."""

import pyarrow as pa

from schemas.fields import PARTICIPANT, RECT, SESSION, SPANS, TEXT, Table, field

PLACE = pa.float64()  # float32 would be off by milliseconds after some hours
HASH = "SHA-256 of that file; of a remote one, the checksum of its store"
STREAM = "its stream, an index among all streams of the file"
BEGIN = "time of the track at the start of the file; negative: the beginning of the file is not in the track"
RATE = "time of the track that passes in 1 ms of the file; not 1: the clock of the file was corrected"

SOURCES = Table(
    name="sources",
    stage="ingest",
    meaning="From which files a track was made, and how: where its clock, its channel and its picture lie in them. An "
    "instant of a file is at `start_ms + rate * instant` of the track.",
    key=("session_id", "participant"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("video_uri", TEXT, "file with the picture, below the source folder; null: no video", nullable=True),
        field("video_hash", TEXT, HASH, nullable=True),
        field("video_stream", pa.int32(), STREAM, nullable=True),
        field("video_start_ms", PLACE, BEGIN, unit="ms", nullable=True),
        field("video_rate", PLACE, RATE, nullable=True),
        field("picture_width", pa.int32(), "width of the file's picture, as displayed", unit="pixels", nullable=True),
        field("picture_height", pa.int32(), "its height", unit="pixels", nullable=True),
        field(
            "crop",
            RECT,
            "the part of that picture that is used; null: all of it, or a part that moves (table `people`)",
            unit="pixels",
            nullable=True,
        ),
        field(
            "zoom",
            PLACE,
            "scale of that part, relative to the scale at which it just covers the frame of the track; null: no video, "
            "or a part that moves",
            nullable=True,
        ),
        field(
            "cut_left",
            PLACE,
            "of the width that is cut off (or of the border), the share on the left side",
            nullable=True,
        ),
        field(
            "cut_top", PLACE, "of the height that is cut off (or of the border), the share at the top", nullable=True
        ),
        field(
            "held",
            SPANS,
            "where a frame stands for over 500 ms, as the file has no new ones; null: no video",
            unit="ms",
            nullable=True,
        ),
        field("audio_uri", TEXT, "file with the sound, below the source folder; null: no audio", nullable=True),
        field("audio_hash", TEXT, HASH, nullable=True),
        field("audio_stream", pa.int32(), STREAM, nullable=True),
        field("audio_start_ms", PLACE, BEGIN, unit="ms", nullable=True),
        field("audio_rate", PLACE, RATE, nullable=True),
        field("channel", pa.int32(), "audio channel, from 0; null: the mix of all", nullable=True),
        field(
            "filled",
            SPANS,
            "where the file has no sound: the track is silent; null: no audio",
            unit="ms",
            nullable=True,
        ),
        field(
            "cancelled",
            SPANS,
            "where the channels of the file cancel each other: the track has the louder one; null: no audio",
            unit="ms",
            nullable=True,
        ),
        field(
            "own_speech",
            SPANS,
            "where the track has the sound of the file; the rest is silenced, as others may speak. null: throughout",
            unit="ms",
            nullable=True,
        ),
    ),
)
