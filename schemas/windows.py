"""Table and manifest of the pack stage: training windows and the shards that contain them."""

import pyarrow as pa

from schemas.fields import CONSENT, LICENCE, SESSION, SPLIT, TEXT, UNIT, Table, field

WINDOW_FORMAT = 2  # version of tar members, indexes and manifest; wanstreamer.windows refuses any other

# Member `<window_id>.<field>.npy` -> (dtype, dimensions). K units, N audio latents per unit, C channels, H x W latent
# rows and columns, S text slots, L labels. Where `known` is False, the input is masked and there is no loss; the array
# is zero there (text: MISSING).
WINDOW_FIELDS: dict[str, tuple[str, str]] = {
    "agent_audio": ("float16", "KNC"),
    "agent_audio_known": ("bool", "K"),
    "agent_text": ("int32", "KS"),
    "agent_text_known": ("bool", "K"),
    "agent_video": ("float16", "KCHW"),
    "agent_video_known": ("bool", "K"),
    "labels": ("int32", "KL"),
    "user_audio": ("float16", "KNC"),
    "user_audio_known": ("bool", "K"),
    "user_text": ("int32", "KS"),
    "user_text_known": ("bool", "K"),
    "user_video": ("float16", "KCHW"),
    "user_video_known": ("bool", "K"),
}
# Speech: ms of the unit's 160, -1 if it cannot be attributed; backchannel: 0 or 1; role: 0 none, 1 challenger,
# 2 incumbent.
WINDOW_LABELS = ("agent_speech_ms", "user_speech_ms", "agent_backchannel", "agent_interruption_role")

MASKS = Table(
    name="masks",
    stage="pack",
    meaning="How many units of one role view are masked, by reason.",
    key=("session_id", "agent", "user", "reason"),
    fields=(
        SESSION,
        field("agent", TEXT, "participant in the agent role"),
        field("user", TEXT, "participant in the user role"),
        field("reason", TEXT, "user_* masks the input, agent_* the loss; for example user_audio_bleed"),
        field("num_units", UNIT, "masked units; a unit may be masked for several reasons", unit="160 ms units"),
    ),
)

WINDOWS = Table(
    name="windows",
    stage="pack",
    meaning="K consecutive units of one session in one role view: one training sample.",
    key=("session_id", "agent", "user", "start_unit"),
    offsets=("offset",),
    fields=(
        field(
            "window_id",
            TEXT,
            "the sample's key in its shard: session_id-agent-start_unit; with more than two people "
            "session_id-agent-user-start_unit",
        ),
        SESSION,
        SPLIT,
        field("agent", TEXT, "participant in the agent role"),
        field("user", TEXT, "participant in the user role"),
        field("agent_speaker_id", TEXT, "pseudonymous person in the agent role"),
        field("user_speaker_id", TEXT, "pseudonymous person in the user role"),
        field("start_unit", UNIT, "first unit", unit="160 ms units"),
        field("num_units", UNIT, "K", unit="160 ms units"),
        field("shard", TEXT, "tar below the data folder"),
        field("offset", pa.int64(), "first byte of the sample's members in the shard", unit="bytes"),
        field("num_bytes", pa.int64(), "length of the sample's members in the shard", unit="bytes"),
        field("crc32", pa.int64(), "checksum of those bytes; wanstreamer.windows checks it on every read"),
        field(
            "agent_speech_ms", pa.int64(), "agent's speech inside the window, as far as it can be attributed", unit="ms"
        ),
        field(
            "user_audio_masked_units",
            UNIT,
            "units with user audio masked (missing, shared or bleeding)",
            unit="160 ms units",
        ),
        field("agent_audio_masked_units", UNIT, "units without loss on the agent's audio", unit="160 ms units"),
        LICENCE,
        CONSENT,
    ),
)

# windows/runs.arrow: which windows lie where. A run is consecutive windows of one session in one shard; pack writes one
# run per session.
RUNS = pa.schema(
    [
        field("split", pa.dictionary(pa.int32(), TEXT), SPLIT.metadata[b"meaning"].decode()),
        SESSION,
        field("agent", pa.dictionary(pa.int32(), TEXT), "participant in the agent role in the first window"),
        field("user", pa.dictionary(pa.int32(), TEXT), "participant in the user role in the first window"),
        field("start_unit", UNIT, "first unit of the first window", unit="160 ms units"),
        field("shard", pa.int32(), "number of the shard in the manifest, from 0"),
        field("first_row", pa.int32(), "number of the first window in the shard, from 0"),
        field("num_windows", pa.int32(), "windows in the run"),
    ],
)
