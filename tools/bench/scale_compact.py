"""`tools.compact` on a made-up corpus, whose shards have other sizes: `python -m tools.bench.scale_compact HOME`."""

import sys
from pathlib import Path
from typing import Any

from pipelines.engine import shards
from tools import compact
from tools.bench.scale_corpus import stage_shard_bytes


def main() -> None:
    home, whole = Path(sys.argv[1]).resolve(), compact.compact

    def compact_scaled(data: Path, stage: str, *more: Any) -> list[str]:
        shards.SHARD_BYTES = stage_shard_bytes(home, stage)
        return whole(data, stage, *more)

    compact.compact = compact_scaled  # type: ignore[assignment]
    compact.compact_folder(home / "data")


if __name__ == "__main__":
    main()
