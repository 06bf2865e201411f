"""Convert exchange formats: `python -m tools.convert call.rttm call.ctm --to textgrid --out call.TextGrid`.

Several input files are merged by session. With `--data` the input is a data folder, so that its sessions open in ELAN
or Praat. What the target format cannot hold is printed on stderr, one line per kind of loss.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.files import write_bytes_atomic
from tools.exchange import data_folder, eaf, json_forms, turnbench
from tools.exchange.formats import FORMATS, WRITABLE, by_suffix, given_to, read_file, session_named_by
from tools.exchange.intervals import Interval, Losses, Written, in_order
from tools.exchange.json_forms import MOSHI_MAIN
from tools.exchange.turnbench import PREDICTIONS
from wanstreamer.errors import InputError


def convert(
    intervals: Sequence[Interval],
    form: str,
    out: Path,
    *,
    tiers: Sequence[str] = (),
    main: str | None = None,
    media: Mapping[str, Sequence[Path]] | None = None,
    conversations: Mapping[str, turnbench.Conversation] | None = None,
    force: bool = False,
) -> tuple[list[Path], Losses]:
    """Write intervals in one format; returns the files written and what was lost.

    Args:
        out: A file; or a folder, for several sessions in a format that holds one session per file.
        tiers: The kinds to write; empty: the kinds that the format is for.
        main: The participant to write as Moshi's SPEAKER_MAIN.
        media: Session -> files that an EAF links to.
        conversations: Sessions with their length and people, for TurnBench's predictions.
        force: Whether existing files are replaced.

    Raises InputError, before anything is written, if the format cannot hold the intervals or a file exists already.
    """
    contents: dict[Path, str] = {}
    if form == PREDICTIONS:
        if tiers or out.is_dir():
            raise InputError(f"--to {form}: expected --out FILE, and no --tiers; it takes turns and interruptions")
        chosen: list[Interval] = []
        contents[out], losses = turnbench.write_predictions(intervals, conversations)
    else:
        chosen, losses = given_to(form, intervals, tiers)
        if not chosen:
            raise InputError("nothing to write: the input has no intervals")
    for path, own in _files(chosen, form, out).items() if chosen else ():
        links = (media or {}).get(own[0].session_id, ())
        contents[path], lost = _written(own, form, main, links, path.parent)
        losses += lost
        if not FORMATS[form].many_sessions and session_named_by(path, form) != own[0].session_id:
            losses["name of the session: readers will use the file's name"] += 1
    if existing := [path for path in contents if path.exists() and not force]:
        raise InputError(f"{existing[0]}: exists already; pass --force to replace it")
    for path, content in contents.items():
        write_bytes_atomic(path, content.encode())
    return list(contents), losses


def _files(intervals: Sequence[Interval], form: str, out: Path) -> dict[Path, list[Interval]]:
    if FORMATS[form].many_sessions:
        if out.is_dir():
            raise InputError(f"--out {out}: is a folder, but {form} holds all sessions in one file; name that file")
        if not out.suffix:
            raise InputError(
                f"--out {out}: {form} holds all sessions in one file; name a file, such as {out}{FORMATS[form].suffix}"
            )
        return {out: list(intervals)}
    sessions = sorted({interval.session_id for interval in intervals})
    is_folder = out.is_dir() or not out.suffix
    if len(sessions) > 1 and not is_folder:
        raise InputError(
            f"--out {out}: {form} holds one session per file, and there are {len(sessions)}; name a folder"
        )
    files: dict[Path, list[Interval]] = {}
    for session in sessions:
        name = session + FORMATS[form].suffix
        if is_folder and (not session or Path(name).name != name or "\0" in name):
            raise InputError(f"session {session!r}: not usable as a file name; name the file with --out")
        files[out / name if is_folder else out] = [interval for interval in intervals if interval.session_id == session]
    return files


def _written(own: Sequence[Interval], form: str, main: str | None, media: Sequence[Path], folder: Path) -> Written:
    if form == "eaf":
        return eaf.write_eaf(own, media, folder)
    if form == "moshi":
        return json_forms.write_moshi(own, main)
    write = FORMATS[form].write
    if write is None:
        raise InputError(f"--to {form}: can be read but not written; choose from {', '.join(WRITABLE)}")
    return write(own)


def read_all(
    paths: Sequence[Path], form: str | None = None, sessions: Sequence[str] = ()
) -> tuple[list[Interval], Losses]:
    """The intervals of all files, or only those of `sessions` where it names some; and what could not be read."""
    intervals: list[Interval] = []
    losses: Losses = Counter()
    for path in paths:
        file_intervals, lost = read_file(path, form)
        intervals += file_intervals
        losses += lost
    absent = sorted(set(sessions) - {interval.session_id for interval in intervals})
    if absent:
        raise InputError(f"--session {absent[0]}: no such session in the input files")
    return in_order(interval for interval in intervals if not sessions or interval.session_id in sessions), losses


def read_sessions(data: Path, sessions: Sequence[str], *, private: bool) -> tuple[list[Interval], Losses]:
    """The intervals of a data folder. Raises InputError for people who have not agreed to `share`, unless `private`."""
    intervals, losses = data_folder.read_data(data, sessions)
    named = {interval.session_id for interval in intervals}
    unshared = data_folder.not_shared(data, named)
    if unshared and not private:
        raise InputError(
            f"session {unshared[0]} ({len(unshared)} of {len(named)} sessions): a participant has not agreed to "
            "`share`; pass --private to write the file for your own use only"
        )
    return intervals, losses


def report(losses: Losses, where: str) -> None:
    for what, count in sorted(losses.items()):
        print(f"{where}: lost: {what} ({count})", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert", description="Convert between exchange formats of speech and conversation."
    )
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="files to read; merged by session")
    parser.add_argument(
        "--from",
        dest="source",
        type=str.lower,
        choices=FORMATS,
        help="format of the files (default: by suffix or content)",
    )
    parser.add_argument("--data", type=Path, help="read the tables of this data folder instead of files")
    parser.add_argument(
        "--session", action="append", default=[], metavar="ID", help="only this session; may be repeated"
    )
    parser.add_argument(
        "--to",
        type=str.lower,
        choices=(*WRITABLE, PREDICTIONS),
        help="format to write (default: by the suffix of --out)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="file to write; for one file per session: a folder, or a name without suffix",
    )
    parser.add_argument(
        "--tiers", nargs="+", default=[], metavar="KIND", help="only these tiers: speech words turns ..."
    )
    parser.add_argument(
        "--labels",
        choices=("from-turnbench", "to-turnbench"),
        help="read the tier `turnbench` as our turns and events, or write these as a tier `turnbench`",
    )
    parser.add_argument("--main", metavar="PARTICIPANT", help="moshi: the participant whose voice is learnt")
    parser.add_argument(
        "--private", action="store_true", help="with --data: also write people who have not agreed to `share`"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        form = args.to or by_suffix(args.out)
        if form not in (*WRITABLE, PREDICTIONS):
            raise InputError(f"--out {args.out}: the suffix names no format; add --to ({', '.join(WRITABLE)})")
        if bool(args.inputs) == bool(args.data):
            raise InputError("expected either files to read or --data DIR, a data folder of the pipeline")
        media: dict[str, list[Path]] = {}
        conversations: dict[str, turnbench.Conversation] = {}
        if args.data:
            intervals, unread = read_sessions(args.data, args.session, private=args.private)
            sessions = {interval.session_id for interval in intervals}
            media = {session: data_folder.media_of(args.data, session) for session in sessions if form == "eaf"}
            conversations = data_folder.conversations(args.data, args.session or sessions)
        else:
            intervals, unread = read_all(args.inputs, args.source, args.session)
        if args.labels:
            relabel = turnbench.read_labels if args.labels == "from-turnbench" else turnbench.labels_of
            intervals, unmapped = relabel(intervals)
            unread += unmapped
        participants = sorted({interval.participant for interval in intervals})
        if args.main is not None and args.main not in participants:
            raise InputError(f"--main {args.main}: no such participant; there are {', '.join(participants)}")
        if (
            form == "moshi"
            and args.main is None
            and not any(interval.participant == MOSHI_MAIN for interval in intervals)
        ):
            print(
                f"moshi: no participant is {MOSHI_MAIN}; name the participant whose voice is learnt with --main",
                file=sys.stderr,
            )
        paths, lost = convert(
            intervals,
            form,
            args.out,
            tiers=args.tiers,
            main=args.main,
            media=media,
            conversations=conversations,
            force=args.force,
        )
        report(unread, "input")
        report(lost, form)
        sessions = {interval.session_id for interval in intervals}
        named = f"{paths[0].name} to {paths[-1].name}"
        files = f"{len(paths)} files in {args.out}: {named}" if len(paths) > 1 else str(paths[0])
        print(f"convert: {len(sessions)} session{'' if len(sessions) == 1 else 's'} to {files}")


if __name__ == "__main__":
    main()
