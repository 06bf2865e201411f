"""Rows of the table `latents` -> arrays, checked against the hashes that encode recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.engine.jobs import Damaged
from pipelines.formats.npy_tar import Place, array_at


def latents_at(data: Path, row: Mapping[str, Any], kind: str) -> Place | None:
    """Where the `kind` latents of a track are: float16 (num_units, ...). None if the track has none.

    Raises Damaged if the shard is gone or its bytes are not those that encode wrote.
    """
    if row[f"{kind}_member"] is None:
        return None
    name = f"{row['shard']}: {row[f'{kind}_member']}"
    try:
        place = array_at(data / row["shard"], row[f"{kind}_offset"])
        intact = place.sha256() == row[f"{kind}_sha256"]
    except (OSError, ValueError) as error:
        raise Damaged("encode", f"{name}: cannot be read ({type(error).__name__})") from error
    if not intact:
        raise Damaged("encode", f"{name}: its checksum differs")
    return place
