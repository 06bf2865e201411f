"""Recordings of two people in one file -> who speaks when, and where each is in the picture.

Most raw conversations are one file: an interview, a podcast, a call in one window. Where no manifest, no folder and no
RTTM names the participants of a recording, this stage finds them (find.py), and ingest makes the tracks of each. All
other recordings pass it by.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.engine.buckets import buckets_for, by_bucket
from pipelines.engine.command import stage_main
from pipelines.engine.files import hash_of
from pipelines.engine.jobs import Job, Rejected
from pipelines.engine.plan import Plan
from pipelines.engine.remote import is_remote_uri, settings
from pipelines.engine.run import RunParams, run_keys
from pipelines.people.find import FindPeople
from pipelines.people.params import PeopleParams
from pipelines.people.weights import weights_of
from pipelines.sources.corrections import (
    corrections_file,
    listed_corrections,
    read_corrections,
    stray_corrections,
)
from pipelines.sources.find import find_sources, source_of
from pipelines.sources.hashes import SourceHashes
from pipelines.sources.params import SourceParams
from pipelines.sources.row import SourceRow, nameless_recording
from pipelines.sources.session_files import files_of
from schemas.people import PEOPLE


def run(data: Path, params: PeopleParams, how: RunParams, ingest: SourceParams) -> dict[str, Any]:
    """Find the participants of every recording that does not name them."""
    source = source_of(ingest.source, data)
    root, rows = find_sources(source, ingest.layout, warn=False)
    root = root.resolve()
    sessions: dict[str, list[SourceRow]] = {}
    for row in rows:
        sessions.setdefault(row.session_id, []).append(row)
    nameless = {key: found for key, own in sessions.items() if (found := nameless_recording(own))}
    corrected = listed_corrections(data)
    if strays := stray_corrections(data, corrected, sessions):
        print(f"people: warning: {strays}", file=sys.stderr)
    weights = weights_of(params) if nameless else ()
    counts = run_keys(
        data,
        "people",
        _plan(data, root, nameless, corrected, weights),
        FindPeople,
        params={**asdict(params), "width": ingest.width, "height": ingest.height},
        tables=(PEOPLE,),
        how=how,
        setup={
            "root": str(root), "reach": settings() if is_remote_uri(root) else None, "params": params,
            "aspect": ingest.width / ingest.height,
        },
    )  # fmt: skip
    if nameless and not counts["done"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items())
        print(
            f"people: warning: no two people were found in any of {len(nameless)} recordings ({reasons}); table "
            "rejections has the figures",
            file=sys.stderr,
        )
    return counts


def _plan(
    data: Path, root: Path, nameless: Mapping[str, SourceRow], corrected: Mapping[str, str], weights: tuple[str, ...]
) -> Plan:
    """The jobs of all recordings without named participants, by bucket."""
    hashes = SourceHashes(data / "parts" / "people-hashes", root)
    own = by_bucket(nameless)

    def inputs(bucket: int, num_buckets: int) -> str:
        keys = own(bucket, num_buckets)
        stamps = hashes.stamps([name for key in keys for name in files_of([nameless[key]])])
        rows = [[vars(nameless[key]), corrected.get(key)] for key in keys]
        return hash_of([rows, stamps, weights])

    def jobs(bucket: int, num_buckets: int) -> Iterator[Job]:
        keys = own(bucket, num_buckets)
        known = hashes.of([name for key in keys for name in files_of([nameless[key]])], bucket, num_buckets)
        for key in keys:
            contents = [known[name] for name in files_of([nameless[key]])]
            missing = next((content for content in contents if isinstance(content, Rejected)), None)
            if missing:
                yield Job(key=key, rejected=(missing.reason, missing.detail))
                continue
            corrections = read_corrections(corrections_file(data, key), "people") if key in corrected else []
            spec = {"row": asdict(nameless[key]), "corrections": [each.to_json() for each in corrections]}
            yield Job(key=key, spec=spec, inputs=(*map(str, contents), *weights))

    return Plan(num_buckets=buckets_for(len(nameless)), jobs=jobs, inputs=inputs)


def main() -> None:
    stage_main("people", PeopleParams, run, shared={"ingest": SourceParams})
