"""Counts over an export, with DuckDB on its Parquet files: what the card and the description say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tools.export.hf.what import TABLES_OUT, WINDOWS_CONFIG, schema_out

SPLITS = ("train", "valid", "test")

# Every figure of the card, by the name of the query. `python -m tools.query` answers them for a whole data folder.
QUERIES = {
    "by_split": """SELECT s.split, count(DISTINCT s.session_id) AS sessions, sum(s.duration_ms) / 3600000.0 AS hours,
        max(p.people) AS people FROM sessions s
        LEFT JOIN (SELECT split, count(DISTINCT speaker_id) AS people FROM tracks GROUP BY split) p USING (split)
        GROUP BY s.split""",
    "total": """SELECT count(*) AS sessions, sum(duration_ms) / 3600000.0 AS hours,
        (SELECT count(DISTINCT speaker_id) FROM tracks) AS people FROM sessions""",
    "languages": """SELECT coalesce(t.language, s.language) AS language, sum(s.duration_ms) / 3600000.0 AS track_hours
        FROM tracks t JOIN sessions s USING (session_id) GROUP BY ALL ORDER BY 2 DESC, 1""",
    "layouts": "SELECT layout, count(*) AS sessions FROM sessions GROUP BY ALL ORDER BY 2 DESC, 1",
    "licences": "SELECT licence, count(*) AS tracks FROM tracks GROUP BY ALL ORDER BY 2 DESC, 1",
    "consents": """SELECT array_to_string(list_sort(consent), ', ') AS consent, count(DISTINCT speaker_id) AS people
        FROM tracks GROUP BY ALL ORDER BY 2 DESC, 1""",
    "media": """SELECT width, height, rate_hz, count(*) AS tracks FROM tracks GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3""",
    "talk": """SELECT sum(end_ms - start_ms) / 3600000.0 AS hours, count(*) AS intervals FROM speech""",
    "detectors": "SELECT source, count(*) AS intervals FROM speech GROUP BY ALL ORDER BY 2 DESC, 1",
    "words": "SELECT source, count(*) AS words FROM words GROUP BY ALL ORDER BY 2 DESC, 1",
    "turns": """SELECT count(*) AS turns, median(end_ms - start_ms) AS median_ms FROM turns WHERE is_primary""",
    "events": """SELECT kind, label, count(*) AS events, median(end_ms - start_ms) AS median_ms,
        median(confidence) AS median_confidence FROM events GROUP BY ALL ORDER BY kind, 3 DESC, label""",
    "outcomes": """SELECT label, outcome, count(*) AS events FROM events WHERE outcome IS NOT NULL
        GROUP BY ALL ORDER BY 1, 3 DESC, 2""",
    "offsets": "SELECT median(fto_ms) AS median_ms FROM events WHERE kind = 'transition' AND fto_ms IS NOT NULL",
    "rules": """SELECT DISTINCT rule_version FROM events ORDER BY 1""",
    "windows": """SELECT split, count(*) AS windows, sum(num_units) * 0.16 / 3600 AS hours FROM window_index
        GROUP BY split""",
    "quality": """SELECT count(*) AS tracks, count(*) FILTER (usable) AS usable, median(snr_db) AS snr_db
        FROM quality""",
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is in an export."""

    rows: Mapping[str, list[dict[str, Any]]]  # name of a query -> its rows; no rows if a table is not there
    # config -> split -> num_rows, num_bytes (on disk), raw_bytes; configs and splits without rows are left out
    configs: Mapping[str, Mapping[str, Mapping[str, int]]]
    num_bytes: int

    def first(self, name: str) -> dict[str, Any]:
        rows = self.rows[name]
        return rows[0] if rows else {}


def read_figures(out: Path, files: Mapping[str, Mapping[str, Any]]) -> Figures:
    """`files`: path -> num_rows, num_bytes, raw_bytes of all files of the export."""
    configs: dict[str, dict[str, dict[str, int]]] = {}
    for name, about in files.items():
        if not name.endswith((".parquet", ".tar")):
            continue
        parts = name.split("/")
        config = parts[1] if parts[0] == "tables" else WINDOWS_CONFIG
        split = parts[2].rpartition("-")[0] if parts[0] == "tables" else parts[1]
        counts = configs.setdefault(config, {}).setdefault(
            split, dict.fromkeys(("num_rows", "num_bytes", "raw_bytes"), 0)
        )
        for key in counts:
            counts[key] += about[key]
    order = [*TABLES_OUT, WINDOWS_CONFIG]
    configs = {config: configs[config] for config in sorted(configs, key=order.index)}
    for config, splits in configs.items():
        configs[config] = {split: splits[split] for split in SPLITS if split in splits}
    return Figures(
        rows=_answers(out), configs=configs, num_bytes=sum(about["num_bytes"] for about in files.values())
    )  # fmt: skip


def _answers(out: Path) -> dict[str, list[dict[str, Any]]]:
    answers = {}
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        for config in TABLES_OUT:
            paths = [str(path) for path in sorted((out / "tables" / config).glob("*.parquet"))]
            if paths:
                connection.read_parquet(paths, hive_partitioning=False).create_view(config)
            else:
                connection.register(config, schema_out(config).empty_table())
        for name, sql in QUERIES.items():
            answer = connection.execute(sql)
            columns = [column[0] for column in answer.description or ()]
            answers[name] = [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
    return answers
