"""The files of one session: which are read, how they come from a store, and whether crops lie in them."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.jobs import Rejected
from pipelines.engine.remote import fetch
from pipelines.media.probing import probe
from pipelines.sources.row import SourceRow
from wanstreamer.errors import InputError


def files_of(rows: Sequence[SourceRow]) -> list[str]:
    """The files that are read; those of a row that cannot be used are not."""
    usable = [row for row in rows if not row.unusable]
    named = [name for row in usable for name in (row.uri, row.audio_uri, row.words_uri, row.rttm_uri) if name]
    return sorted(set(named))


def fetch_files(source: Path, rows: Sequence[SourceRow], inputs: Sequence[str], folder: Path) -> None:
    """Copy the files of a session. Rejects files that changed since the run began."""
    names = files_of(rows)
    try:
        stamps = fetch(source, names, folder)
    except FileNotFoundError as error:
        raise Rejected("missing_file", str(error)) from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Rejected("not_a_file", "one name is both a file and a folder in the store; rename one of them") from error
    changed = [name for name, stamp in zip(names, inputs, strict=True) if stamps[name] != stamp]
    if changed:
        raise Rejected("changed_file", f"{changed[0]} changed during the run; run the same command again")


def check_crops(root: Path, rows: Sequence[SourceRow]) -> None:
    """Raises InputError for a crop outside the frame, a mistake in the manifest, before any work.

    Unreadable files are rejected later, by the worker.
    """
    for row in rows:
        if row.crop is None or row.unusable:
            continue
        try:
            media = probe(root / row.uri, video_stream=row.video_stream)
        except Rejected:
            continue
        x, y, width, height = row.crop
        if x + width > media.width or y + height > media.height:
            raise InputError(
                f"{row.session_id}/{row.participant}: crop {x}:{y}:{width}:{height} reaches outside the "
                f"{media.width}x{media.height} frame of {row.uri}; correct it in the manifest"
            )
