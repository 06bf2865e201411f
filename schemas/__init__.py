"""The tables on disk, in the order of the stages: every table is defined here only. Depends on pyarrow alone."""

from schemas.annotate import EVENTS, IPUS, SPEECH, TURNS, UNITS, WORDS
from schemas.fields import SCHEMA_VERSION, Table
from schemas.ingest import REJECTIONS, SESSIONS, TRACKS
from schemas.latents import LATENTS
from schemas.quality import HASHES, QUALITY
from schemas.windows import WINDOW_FORMAT, WINDOWS

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        SESSIONS,
        TRACKS,
        QUALITY,
        HASHES,
        SPEECH,
        WORDS,
        IPUS,
        TURNS,
        EVENTS,
        UNITS,
        LATENTS,
        WINDOWS,
        REJECTIONS,
    )  # fmt: skip
}

__all__ = ["SCHEMA_VERSION", "TABLES", "WINDOW_FORMAT", "Table"]
