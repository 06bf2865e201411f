"""Table of the quality stage: what can be said of each track without knowing what is said in it."""

import pyarrow as pa

from schemas.fields import MS, PARTICIPANT, SESSION, Table, field

REAL = pa.float32()

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
        field("silent_share", REAL, "20 ms frames of digital silence or within 6 dB of the floor", nullable=True),
        field("black_share", REAL, "frames that are dark throughout", nullable=True),
        field("frozen_share", REAL, "frames that equal the one before", nullable=True),
        field("cuts", pa.int32(), "instants at which the whole picture changes", nullable=True),
        field("av_offset_ms", MS, "how much later the picture is than the sound", unit="ms", nullable=True),
        field("av_confidence", REAL, "correlation at that offset, 0 to 1; strangers' sounds reach 0.3", nullable=True),
        field("usable", pa.bool_(), "no threshold of the quality stage was broken"),
    ),
)  # fmt: skip
