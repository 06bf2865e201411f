"""Table of the encode stage: where the latents of each track are."""

import pyarrow as pa

from schemas.fields import PARTICIPANT, SESSION, TEXT, UNIT, Table, field

LATENTS = Table(
    name="latents",
    stage="encode",
    meaning="Causal VAE latents of one track: float16 npy members of a tar that holds many sessions.",
    key=("session_id", "participant"),
    offsets=("audio_offset", "video_offset"),
    fields=(
        SESSION,
        PARTICIPANT,
        field("num_units", UNIT, "length", unit="160 ms units"),
        field("shard", TEXT, "tar below the data folder"),
        field("audio_member", TEXT, "npy (num_units, 4, audio channels) float16; null: no audio", nullable=True),
        field(
            "video_member",
            TEXT,
            "npy (num_units, video channels, height, width) float16; null: no video",
            nullable=True,
        ),
        field("audio_offset", pa.int64(), "first byte of that npy file in the shard", unit="bytes", nullable=True),
        field("video_offset", pa.int64(), "first byte of that npy file in the shard", unit="bytes", nullable=True),
        field("audio_sha256", TEXT, "hash of that npy file", nullable=True),
        field("video_sha256", TEXT, "hash of that npy file", nullable=True),
        field("audio_codec", TEXT, "sha256 of the audio VAE's weights", nullable=True),
        field("video_codec", TEXT, "sha256 of the video VAE's weights", nullable=True),
        field("audio_mean", pa.float32(), "mean of the normalised audio latents; about 0", nullable=True),
        field("audio_std", pa.float32(), "standard deviation of the normalised audio latents; about 1", nullable=True),
        field("video_mean", pa.float32(), "mean of the normalised video latents; about 0", nullable=True),
        field("video_std", pa.float32(), "standard deviation of the normalised video latents; about 1", nullable=True),
    ),
)
