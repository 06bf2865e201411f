"""Which tables and columns go into a dataset for the Hub, and why others do not."""

import pyarrow as pa

from schemas import TABLES

WINDOW_INDEX = "window_index"  # the windows themselves are in the folder `windows`
TABLES_OUT: dict[str, str] = {  # config -> table
    **{name: name for name in ("sessions", "tracks", "turns", "events", "ipus", "words", "speech", "units")},
    **{name: name for name in ("bleed", "quality", "people", "sidecar_words", "masks")},
    WINDOW_INDEX: "windows",
}
TABLES_LEFT_OUT = {
    "hashes": "finds a recording again wherever it was published",
    "latents": "says where latents lie in the data folder; the windows hold the latents",
    "rejections": "counted by reason only, as its rows name files and sessions that are not here",
}
COLUMNS_LEFT_OUT: dict[str, dict[str, str]] = {
    "tracks": dict.fromkeys(("audio_path", "video_path"), "sound and picture are not in this dataset"),
    "quality": {"duplicate_of": "may name a session that is not shared"},
}
NOT_USABLE = "not_usable"  # the reason of a session with a track that the stage quality found not usable
DEFAULT_CONFIG = "turns"
WINDOWS_CONFIG = "windows"


def schema_out(config: str) -> pa.Schema:
    """The columns of a config, in the order of the table."""
    schema = TABLES[TABLES_OUT[config]].schema
    gone = COLUMNS_LEFT_OUT.get(config, {})
    return pa.schema([field for field in schema if field.name not in gone], metadata=schema.metadata)


def meaning_of(config: str) -> str:
    if config == WINDOW_INDEX:
        return "Where each window lies in its shard, and of whom it is."
    return TABLES[TABLES_OUT[config]].meaning
