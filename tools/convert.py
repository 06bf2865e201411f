"""Exchange formats in, another out: `python -m tools.convert call.rttm call.ctm --to textgrid --out call.TextGrid`.

Several inputs are put together by session. With `--data` the source is a data folder, so that a session of ours opens
in ELAN or Praat. What the target cannot hold is told on stderr, one line per loss.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.files import write_bytes_atomic
from tools.exchange import data_folder, eaf, json_forms
from tools.exchange.formats import FORMATS, WRITABLE, by_suffix, given_to, read_file, session_named_by
from tools.exchange.intervals import Interval, Losses, Written, in_order
from tools.exchange.json_forms import MOSHI_MAIN
from wanstreamer.errors import InputError


def convert(
    intervals: Sequence[Interval],
    form: str,
    out: Path,
    *,
    tiers: Sequence[str] = (),
    main: str | None = None,
    media: Mapping[str, Sequence[Path]] | None = None,
    force: bool = False,
) -> tuple[list[Path], Losses]:
    """Write intervals in one format; returns the files written and what was lost.

    Args:
        out: A file; a folder where the format holds one session a file and there are several.
        tiers: The kinds to write; empty: what the format is for.
        main: Moshi's SPEAKER_MAIN.
        media: Session -> files an EAF links.
        force: Whether files that are there are replaced.

    Raises InputError, before anything is written, for what the format cannot hold and for a file that is there.
    """
    chosen, losses = given_to(form, intervals, tiers)
    if not chosen:
        raise InputError("nothing to write: the input holds no intervals")
    contents: dict[Path, str] = {}
    for path, own in _files(chosen, form, out).items():
        links = (media or {}).get(own[0].session_id, ())
        contents[path], lost = _written(own, form, main, links, path.parent)
        losses += lost
        if not FORMATS[form].many_sessions and session_named_by(path, form) != own[0].session_id:
            losses["name of the session: the file's name stands for it"] += 1
    if there := [path for path in contents if path.exists() and not force]:
        raise InputError(f"{there[0]}: there already; --force replaces it")
    for path, content in contents.items():
        write_bytes_atomic(path, content.encode())
    return list(contents), losses


def _files(intervals: Sequence[Interval], form: str, out: Path) -> dict[Path, list[Interval]]:
    if FORMATS[form].many_sessions:
        if out.is_dir():
            raise InputError(f"--out {out}: is a folder; {form} holds all sessions in one file, name that")
        if not out.suffix:
            raise InputError(
                f"--out {out}: {form} holds all sessions in one file; name that, such as {out}{FORMATS[form].suffix}"
            )
        return {out: list(intervals)}
    sessions = sorted({one.session_id for one in intervals})
    is_folder = out.is_dir() or not out.suffix
    if len(sessions) > 1 and not is_folder:
        raise InputError(f"--out {out}: {form} holds one session a file, and there are {len(sessions)}; name a folder")
    found: dict[Path, list[Interval]] = {}
    for session in sessions:
        name = session + FORMATS[form].suffix
        if is_folder and (not session or Path(name).name != name or "\0" in name):
            raise InputError(f"session {session!r} cannot be the name of a file; name the file with --out")
        found[out / name if is_folder else out] = [one for one in intervals if one.session_id == session]
    return found


def _written(own: Sequence[Interval], form: str, main: str | None, media: Sequence[Path], folder: Path) -> Written:
    if form == "eaf":
        return eaf.write_eaf(own, media, folder)
    if form == "moshi":
        return json_forms.write_moshi(own, main)
    write = FORMATS[form].write
    if write is None:
        raise InputError(f"--to {form}: can only be read; choose from {', '.join(WRITABLE)}")
    return write(own)


def read_all(
    paths: Sequence[Path], form: str | None = None, sessions: Sequence[str] = ()
) -> tuple[list[Interval], Losses]:
    """The intervals of several files together, or of the sessions named, and what could not be read of the files."""
    intervals: list[Interval] = []
    losses: Losses = Counter()
    for path in paths:
        found, lost = read_file(path, form)
        intervals += found
        losses += lost
    absent = sorted(set(sessions) - {one.session_id for one in intervals})
    if absent:
        raise InputError(f"--session {absent[0]}: no such session in the files")
    return in_order(one for one in intervals if not sessions or one.session_id in sessions), losses


def read_sessions(data: Path, sessions: Sequence[str], *, private: bool) -> tuple[list[Interval], Losses]:
    """The intervals of a data folder. Raises InputError where somebody has not agreed to `share`, unless `private`."""
    intervals, losses = data_folder.read_data(data, sessions)
    named = {one.session_id for one in intervals}
    kept = data_folder.not_shared(data, named)
    if kept and not private:
        raise InputError(
            f"{kept[0]} ({len(kept)} of {len(named)} sessions): somebody has not agreed to `share`; "
            "--private writes it for your own eyes"
        )
    return intervals, losses


def report(losses: Losses, where: str) -> None:
    for what, count in sorted(losses.items()):
        print(f"{where}: not kept: {what} ({count})", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert", description="Read and write exchange formats of speech and conversation."
    )
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="files to read; put together by session")
    parser.add_argument(
        "--from", dest="source", type=str.lower, choices=FORMATS, help="their format (default: by suffix or content)"
    )
    parser.add_argument("--data", type=Path, help="read the tables of this data folder instead")
    parser.add_argument("--session", action="append", default=[], metavar="ID", help="only this one; may be repeated")
    parser.add_argument(
        "--to", type=str.lower, choices=WRITABLE, help="format to write (default: by the suffix of --out)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="file to write; a folder, or a name without suffix, for a file per session",
    )
    parser.add_argument("--tiers", nargs="+", default=[], metavar="KIND", help="only these: speech words turns ...")
    parser.add_argument("--main", metavar="PARTICIPANT", help="moshi: whose voice is to be learnt")
    parser.add_argument("--private", action="store_true", help="with --data: also people who did not agree to `share`")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        form = args.to or by_suffix(args.out)
        if form not in WRITABLE:
            raise InputError(f"--out {args.out}: the suffix names no format; add --to ({', '.join(WRITABLE)})")
        if bool(args.inputs) == bool(args.data):
            raise InputError("expected files to read, or --data DIR with the tables of the pipeline")
        media: dict[str, list[Path]] = {}
        if args.data:
            intervals, unread = read_sessions(args.data, args.session, private=args.private)
            sessions = {one.session_id for one in intervals}
            media = {session: data_folder.media_of(args.data, session) for session in sessions if form == "eaf"}
        else:
            intervals, unread = read_all(args.inputs, args.source, args.session)
        if args.main is not None and args.main not in {one.participant for one in intervals}:
            raise InputError(f"--main {args.main}: no such participant")
        if form == "moshi" and args.main is None and not any(one.participant == MOSHI_MAIN for one in intervals):
            print(f"moshi: nobody is {MOSHI_MAIN}; --main names whose voice is to be learnt", file=sys.stderr)
        paths, lost = convert(
            intervals, form, args.out, tiers=args.tiers, main=args.main, media=media, force=args.force
        )
        report(unread, "input")
        report(lost, form)
        sessions = {one.session_id for one in intervals}
        named = f"{paths[0].name} to {paths[-1].name}"  # they are in order
        files = f"{len(paths)} files in {args.out}: {named}" if len(paths) > 1 else str(paths[0])
        print(f"convert: {len(sessions)} session{'' if len(sessions) == 1 else 's'} to {files}")


if __name__ == "__main__":
    main()
