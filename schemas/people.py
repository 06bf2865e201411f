"""Table of the people stage: the two participants that were found in a recording without named participants."""

import pyarrow as pa

from schemas.fields import CONFIDENCE, MS, PARTICIPANT, REAL, SESSION, SPANS, TEXT, Table, field

CROPS = pa.list_(
    pa.field(
        "element",
        pa.struct(
            [
                pa.field("start_ms", MS, nullable=False),
                *(pa.field(name, REAL, nullable=False) for name in ("x", "y", "width", "height")),
                pa.field("cut", pa.bool_(), nullable=False),
            ]
        ),
    )
)
SOUND_CLOCK, PICTURE_CLOCK = "on the clock of the file with the sound", "on the clock of the file with the picture"

PEOPLE = Table(
    name="people",
    stage="people",
    meaning="The two participants of a recording that does not name any: when each speaks, and where each is seen.",
    key=("session_id", "participant"),
    fields=(
        SESSION,
        field("participant", PARTICIPANT.type, "a: who speaks first; b: the other"),
        field("speech", SPANS, f"where this person speaks, alone or not, {SOUND_CLOCK}", unit="ms"),
        field("overlap", SPANS, f"where both speak, {SOUND_CLOCK}; the same in both rows", unit="ms"),
        field("others", SPANS, f"where a third voice is heard, {SOUND_CLOCK}; the same in both rows", unit="ms"),
        field(
            "uncertain",
            SPANS,
            f"where it is not known who of the two speaks, or whether both do, {SOUND_CLOCK}; the same in both rows",
            unit="ms",
        ),
        field("visible", SPANS, f"where this person's face is seen, {PICTURE_CLOCK}; empty: off screen", unit="ms"),
        field(
            "crops",
            CROPS,
            f"the part of the picture with this person from `start_ms` on, {PICTURE_CLOCK}, in pixels as displayed. "
            "From row to row it moves in a straight line; where `cut` is true, it jumps when the row begins, and "
            "stands still until then",
            unit="pixels",
        ),
        field("voice_confidence", CONFIDENCE.type, "how far the two voices are apart, 0 to 1"),
        field(
            "face_confidence",
            REAL,
            "margin by which face and voice belong together, 0 to 1; null: off screen",
            nullable=True,
        ),
        field(
            "face_certainty",
            REAL,
            "how surely all pictures of the face are of one person, 0 to 1; at most 0.9 without the weights of a face "
            "embedding; null: off screen",
            nullable=True,
        ),
        field(
            "asd",
            TEXT,
            "what decided who speaks: lr-asd, or motion (of the mouth, with the sound); null: no picture",
            nullable=True,
        ),
        field("num_faces", pa.int32(), "people in the picture, without posters and mirrors; the same in both rows"),
        field("num_voices", pa.int32(), "voices heard, with a third one that hardly speaks; the same in both rows"),
    ),
)  # fmt: skip
