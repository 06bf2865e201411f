"""Tables of the quality stage: facts about each track that do not depend on what people say in it."""

import pyarrow as pa

from schemas.fields import MS, PARTICIPANT, REAL, SESSION, TEXT, Table, field

SCORE = "1 (bad) to 5 (excellent), as listeners would rate"
CLIPS = ", mean of clips with sound; null: the extra `mos` is not installed, or no sound"
HASH_LIST = pa.list_(pa.field("element", pa.uint32(), nullable=False))
FRAMES = pa.list_(pa.field("element", pa.int32(), nullable=False))

QUALITY = Table(
    name="quality",
    stage="quality",
    meaning="How well one track was recorded. If video or audio is missing, its columns are null. What is measured of "
    "the video is measured where it shows the person (tracks.visible).",
    key=("session_id", "participant"),
    judged=(("duplicate_of", None), ("usable", True)),
    fields=(
        SESSION,
        PARTICIPANT,
        field("level_db", REAL, "RMS of what is not silent, relative to full scale", unit="dB", nullable=True),
        field("peak_db", REAL, "highest sample, relative to full scale", unit="dB", nullable=True),
        field("snr_db", REAL, "95th minus 10th percentile of the levels of 20 ms frames", unit="dB",
              nullable=True),
        field("clipped_share", REAL, "share of samples at full scale", nullable=True),
        field("loudness_lufs", REAL, "integrated loudness by EBU R128 (mono counts as one loudspeaker); null: nothing "
              "is above the gate of -70", unit="LUFS", nullable=True),
        field("bandwidth_hz", REAL, "highest frequency whose power is within 60 dB of the strongest; null: silence",
              unit="Hz", nullable=True),
        field("silent_share", REAL, "share of 20 ms frames that are digital silence or within 6 dB of the noise "
              "floor", nullable=True),
        field("zero_share", REAL, "share of 20 ms frames without any signal: digital zero, or a constant",
              nullable=True),
        field("black_share", REAL, "share of frames in which every pixel is dark", nullable=True),
        field("frozen_share", REAL, "share of frames that equal the frame before", nullable=True),
        field("cuts", pa.int32(), "number of times that the whole picture changes at once", nullable=True),
        field("cuts_per_min", REAL, "cuts per minute; a shorter track counts as one minute; null: not judged, as the "
              "picture follows a person through the shots of an edited recording (tracks.visible)", nullable=True),
        field("detail", REAL, "sharpness: mean second difference of neighbouring pixels over their mean difference; a "
              "blurred or enlarged picture has less; null: all frames are flat", nullable=True),
        field("face_share", REAL, "of two frames per second, the share in which YuNet finds a face; it misses faces "
              "from the side and narrow faces: under 6 % of the picture's width, at 64 x 48 under 12 %", nullable=True),
        field("av_offset_ms", MS, "delay of the video relative to the audio, judged on sound that is this person's; "
              "or at its largest, where a recorder lies apart from its camera (tracks.camera_clock)", unit="ms",
              nullable=True),
        field("av_confidence", REAL, "correlation at that offset, 0 to 1; unrelated video and audio reach 0.3; 1: "
              "measured between camera and recorder", nullable=True),
        field("same_picture_share", REAL, "share of the time with movement in which another track of the session shows "
              "the same picture, also mirrored or re-encoded; null: no other picture, or nothing moves", nullable=True),
        field("same_picture_as", TEXT, "the participant of that track; null: the share is 0 or null", nullable=True),
        field("dnsmos_sig", REAL, f"{SCORE} the voice, without regard to the background: DNSMOS P.835{CLIPS}",
              nullable=True),
        field("dnsmos_bak", REAL, f"{SCORE} the background: DNSMOS P.835{CLIPS}", nullable=True),
        field("dnsmos_ovrl", REAL, f"{SCORE} the whole sound: DNSMOS P.835{CLIPS}", nullable=True),
        field("dnsmos_p808", REAL, f"{SCORE} the whole sound: DNSMOS P.808{CLIPS}", nullable=True),
        field("aecmos_echo", REAL, f"{SCORE} the echo of another participant (5: none is audible; of several, the one "
              f"with the most): AECMOS{CLIPS}", nullable=True),
        field("duplicate_of", TEXT, "session/participant of the same recording in another session, which is better, or "
              "as good and first by its id",
              nullable=True),
        field("usable", pa.bool_(), "true: within all thresholds of the quality stage, and not a duplicate"),
    ),
)  # fmt: skip

HASHES = Table(
    name="hashes",
    stage="quality",
    meaning="Hashes to find a recording that was ingested twice. Sound and picture cannot be made from them.",
    key=("session_id", "participant"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("sound_hashes", HASH_LIST, "changes of frequency bands over 1.2 s, 30 bits each; at most 512"),
        field("sound_frames", FRAMES, "start of each hash", unit="frames of 40 ms"),
        field("picture_hashes", HASH_LIST, "changes of brightness patterns over 1.2 s, 30 bits each; at most 512"),
        field("picture_frames", FRAMES, "start of each hash", unit="frames of 40 ms"),
    ),
)  # fmt: skip
