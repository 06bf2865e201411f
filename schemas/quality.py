"""Tables of the quality stage: what can be said of each track without knowing what is said in it."""

import pyarrow as pa

from schemas.fields import MS, PARTICIPANT, SESSION, TEXT, Table, field

REAL = pa.float32()
HASH_LIST = pa.list_(pa.field("element", pa.uint32(), nullable=False))
FRAMES = pa.list_(pa.field("element", pa.int32(), nullable=False))

QUALITY = Table(
    name="quality",
    stage="quality",
    meaning="How well one track was recorded. Columns about a missing picture or sound are null.",
    key=("session_id", "participant"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("level_db", REAL, "RMS of the parts that sound, below full scale", unit="dB", nullable=True),
        field("peak_db", REAL, "highest sample, below full scale", unit="dB", nullable=True),
        field("snr_db", REAL, "95th against 10th percentile of the levels of 20 ms frames", unit="dB",
              nullable=True),
        field("clipped_share", REAL, "samples at full scale", nullable=True),
        field("loudness_lufs", REAL, "integrated loudness after EBU R128 (mono counts as one loudspeaker); null where "
              "nothing is above the gate of -70", unit="LUFS", nullable=True),
        field("silent_share", REAL, "20 ms frames of digital silence or within 6 dB of the floor", nullable=True),
        field("black_share", REAL, "frames that are dark throughout", nullable=True),
        field("frozen_share", REAL, "frames that equal the one before", nullable=True),
        field("cuts", pa.int32(), "instants at which the whole picture changes", nullable=True),
        field("face_share", REAL, "of two frames a second, those in which YuNet finds a face; it misses faces from the "
              "side and narrow ones: under 6 % of the picture's width, at 64 x 48 under 12 %", nullable=True),
        field("av_offset_ms", MS, "how much later the picture is than the sound", unit="ms", nullable=True),
        field("av_confidence", REAL, "correlation at that offset, 0 to 1; strangers' sounds reach 0.3", nullable=True),
        field("duplicate_of", TEXT, "session/participant of an earlier session that holds the same recording",
              nullable=True),
        field("usable", pa.bool_(), "no threshold of the quality stage was broken, and it is no duplicate"),
    ),
)  # fmt: skip

HASHES = Table(
    name="hashes",
    stage="quality",
    meaning="What tells a recording that was given twice; neither sound nor picture can be made from it.",
    key=("session_id", "participant"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("sound_hashes", HASH_LIST, "changes of the sound's bands over 1.2 s, 30 bits each; at most 512"),
        field("sound_frames", FRAMES, "when each begins", unit="frames of 40 ms"),
        field("picture_hashes", HASH_LIST, "changes of the picture's patterns over 1.2 s, 30 bits each; at most 512"),
        field("picture_frames", FRAMES, "when each begins", unit="frames of 40 ms"),
    ),
)  # fmt: skip
