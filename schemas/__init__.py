"""The tables on disk, in the order of the stages: every table is defined here only. Depends on pyarrow alone."""

from schemas.annotate import BLEED, EVENTS, IPUS, SPEECH, TURNS, UNITS, WORDS
from schemas.fields import SCHEMA_VERSION, Table
from schemas.ingest import REJECTIONS, SESSIONS, SIDECAR_WORDS, TRACKS
from schemas.latents import LATENTS
from schemas.people import PEOPLE
from schemas.quality import HASHES, QUALITY
from schemas.sources import SOURCES
from schemas.windows import MASKS, WINDOW_FORMAT, WINDOWS

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        PEOPLE,
        SESSIONS,
        TRACKS,
        SOURCES,
        SIDECAR_WORDS,
        QUALITY,
        HASHES,
        BLEED,
        SPEECH,
        WORDS,
        IPUS,
        TURNS,
        EVENTS,
        UNITS,
        LATENTS,
        WINDOWS,
        MASKS,
        REJECTIONS,
    )  # fmt: skip
}

# The tables that each stage writes, besides its rejections.
TABLES_OF: dict[str, tuple[str, ...]] = {
    stage: tuple(table.name for table in TABLES.values() if table.stage == stage)
    for stage in dict.fromkeys(table.stage for table in TABLES.values())
}

__all__ = ["SCHEMA_VERSION", "TABLES", "TABLES_OF", "WINDOW_FORMAT", "Table"]
