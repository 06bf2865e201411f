"""How a table is declared: fields with unit and meaning, a unique key, a version."""

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 1

MS = pa.int64()
UNIT = pa.int32()
TEXT = pa.string()
REAL = pa.float32()
# The child of a list is called `element`, as in Parquet, so that the schema read from a file equals the declared one.
SPANS = pa.list_(
    pa.field(
        "element",
        pa.struct([pa.field("start_ms", MS, nullable=False), pa.field("end_ms", MS, nullable=False)]),
    )
)
RECT = pa.struct([pa.field(name, pa.int32(), nullable=False) for name in ("x", "y", "width", "height")])


def field(name: str, kind: pa.DataType, meaning: str, *, unit: str = "", nullable: bool = False) -> pa.Field:
    """A column with its meaning, and its unit if it has one, as Arrow metadata."""
    metadata = {"meaning": meaning} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One Parquet table. The `key` columns together are unique, and the rows are sorted by them."""

    name: str
    stage: str
    meaning: str
    key: tuple[str, ...]
    fields: tuple[pa.Field, ...]
    offsets: tuple[str, ...] = ()  # columns that are byte positions in the row's `shard`
    # Columns that the stage fills in when it has seen all sessions, with the value that they have before.
    judged: tuple[tuple[str, object], ...] = ()

    @property
    def schema(self) -> pa.Schema:
        version = field("schema_version", pa.int16(), "version of this table's layout")
        return pa.schema([*self.fields, version], metadata={"table": self.name, "meaning": self.meaning})


SESSION = field("session_id", TEXT, "one recorded conversation on one clock")
PARTICIPANT = field("participant", TEXT, "a person's place in the session: a, b, ...")
SPEAKER = field("speaker_id", TEXT, "pseudonymous person across sessions")
SPLIT = field("split", TEXT, "train, valid or test; every speaker is in one split only")
LICENCE = field("licence", TEXT, "licence of the source, from the manifest", nullable=True)
CONSENT = field(
    "consent",
    pa.list_(pa.field("element", pa.string())),
    "what the person agreed to: train, share, show; null: unknown",
    nullable=True,
)
START_MS = field("start_ms", MS, "start on the session clock, inclusive", unit="ms")
END_MS = field("end_ms", MS, "end on the session clock, exclusive", unit="ms")
RULE_VERSION = field("rule_version", TEXT, "version of the turn rules that made this row")
CONFIDENCE = field("confidence", pa.float32(), "0 to 1; the docs of the rule explain it")
