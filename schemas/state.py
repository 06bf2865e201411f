"""State of a stage on disk: one row per key, in `state/<stage>/b=0000.parquet`. Not a table for queries."""

import pyarrow as pa

from schemas.fields import TEXT, field

STATE_FORMAT = 2  # of the data folder; 1 had a folder per session and stage, and one file per table


def _list_of(**columns: pa.DataType) -> pa.DataType:
    struct = pa.struct([pa.field(name, kind, nullable=False) for name, kind in columns.items()])
    return pa.list_(pa.field("element", struct, nullable=False))


COUNT = pa.int64()

STATE = pa.schema(
    [
        field("key", TEXT, "session_id"),
        field("fingerprint", TEXT, "of code, parameters and input content; empty: undone, the next run does it again"),
        field(
            "tables",
            _list_of(name=TEXT, num_rows=COUNT, sha256=TEXT),
            "rows of this key per table, and the hash of their content",
        ),
        field("files", _list_of(path=TEXT, num_bytes=COUNT, sha256=TEXT), "files that belong to this key alone"),
        field(
            "segments",
            _list_of(shard=TEXT, offset=COUNT, num_bytes=COUNT, sha256=TEXT, first_row=COUNT, num_rows=COUNT),
            "byte ranges of shards that belong to this key; its rows among those of the shard",
        ),
        field(
            "rejections",
            _list_of(key=TEXT, reason=TEXT, detail=TEXT, count=COUNT),
            "what could not be used of this key",
        ),
    ]
)
