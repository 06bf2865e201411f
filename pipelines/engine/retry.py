"""Keys that were rejected, to be tried again by the next run: `--retry-rejected REASON`."""

from pathlib import Path

from pipelines.engine.state import key_note, num_state_buckets, read_state, summary_file
from pipelines.engine.store import Store, drop_rejected


def retry_rejected(data: Path, stage: str, reason: str, store: Store | None = None) -> int:
    """Mark the keys that were rejected for this reason (`all`: any) as undone, and remove them from the store.

    Returns how many were not yet marked.
    """
    there = drop_rejected(store, stage, reason) if store is not None else set()
    here: set[str] = set()
    for bucket in range(num_state_buckets(data, stage)):
        for key, state in read_state(data, stage, bucket).keys.items():
            reasons = {rejection[1] for rejection in state.rejections}
            note = key_note(data, stage, key)
            if not reasons or (reason != "all" and reason not in reasons):
                continue
            if note.exists():
                there.discard(key)
                continue
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()
            here.add(key)
    if here:
        summary_file(data, stage).unlink(missing_ok=True)
    return len(here | there)
