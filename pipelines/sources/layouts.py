"""A folder of recordings -> source rows, with one small function per layout.

Files that a layout finds but cannot use become rows too: `SourceRow.unusable` has the reason, and ingest rejects their
session. What the system of a Mac or an archive leaves in folders (`._a.mp4`, `__MACOSX`), and all hidden files, are
ignored.

    plain     SESSION/PARTICIPANT.mp4 (any container); an audio file of the same name has its sound, and
              SESSION/PARTICIPANT.words.json its words; or SESSION.wav + SESSION.rttm, one mixed recording, whose
              picture may be in a video file of the same name
    stereo    SESSION.wav: a telephone call with a person on each channel; SESSION.a.words.json, SESSION.b...
    seamless  Seamless Interaction: V<vendor>_S<session>_I<interaction>_P<participant>.mp4, .wav, .json anywhere below
    candor    CANDOR: CONVERSATION/{processed,raw}/ media, metadata.json, transcription/transcribe_output.json
    ami       AMI: MEETING/audio/MEETING.Headset-N.wav, MEETING/video/MEETING.CloseupN.avi and the NXT annotations

The layouts of corpora follow their public documentation; none of them has been run on the corpus itself. If only a part
of a corpus is present, ingest rejects the sessions without files as `missing_file` and uses the rest.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from string import ascii_lowercase

from pipelines.formats.records import name_text
from pipelines.formats.rttm import UNKNOWN, read_rttm
from pipelines.sources.files import (
    below,
    inside,
    is_audio,
    is_file,
    is_media,
    is_video,
    media_inside,
    name_if_file,
    name_in,
    one_recording,
    printable,
)
from pipelines.sources.row import NO_PARTICIPANTS, PARTICIPANT_BYTES, SESSION_BYTES, SourceRow, identifier
from wanstreamer.errors import InputError
from wanstreamer.text_files import is_missing, parse_json, parse_xml, read_text

SEAMLESS = re.compile(r"V(\w+?)_S(\w+?)_I(\w+?)_P(\w+)")


def rows_of_folder(folder: Path, layout: str = "") -> list[SourceRow]:
    """Sources of a folder. If the layout is not named, it is recognised by typical files.

    Raises InputError for an unknown layout, for a corpus without its index, and if not one of the recordings can be
    used. A recording without named participants may be used: the stage `people` looks for them.
    """
    check_layout(layout)
    rows = _without_clashes(map(_with_readable_names, LAYOUTS[layout or recognise(folder)](folder)))
    unusable = [row.unusable[1] for row in rows if row.unusable and row.unusable[0] != NO_PARTICIPANTS]
    if rows and len(unusable) == len(rows):
        where = "" if unusable[0].startswith(str(folder)) else f"{folder}: "
        more = f" ({len(unusable) - 1} more recordings cannot be used either)" if unusable[1:] else ""
        raise InputError(f"{where}{unusable[0]}{more}")
    return rows


def _without_clashes(rows: Iterable[SourceRow]) -> list[SourceRow]:
    """The rows, each participant of a session once. Of two recordings of one participant, neither is used."""
    by_key: dict[tuple[str, str], SourceRow] = {}
    for row in rows:
        other = by_key.setdefault((row.session_id, row.participant), row)
        if other is not row and not other.unusable:
            detail = f"{other.uri} and {row.uri} are both recordings of participant {row.participant}"
            by_key[row.session_id, row.participant] = _unusable(
                row.session_id, "same_participant", f"{detail} of session {row.session_id}; remove one of them",
                uri=other.uri, audio_uri=row.uri, participant=row.participant,
            )  # fmt: skip
    return list(by_key.values())


def _with_readable_names(row: SourceRow) -> SourceRow:
    """The row, or an unusable one if a path of it is not UTF-8: tables could not hold it."""
    for uri in (row.uri, row.audio_uri, row.words_uri, row.rttm_uri):
        if uri and printable(uri) != uri:
            detail = f"{printable(uri)}: the name of the file or of its folder is not UTF-8; rename it"
            audio_uri = printable(row.audio_uri) if row.audio_uri else None
            return SourceRow(
                session_id=row.session_id, participant=row.participant, uri=printable(row.uri), audio_uri=audio_uri,
                unusable=("bad_name", detail),
            )  # fmt: skip
    return row


def _unusable(
    session_id: str, reason: str, detail: str, *, uri: str, audio_uri: str | None = None, participant: str = "a"
) -> SourceRow:
    return SourceRow(
        session_id=session_id, participant=participant, uri=uri, audio_uri=audio_uri, unusable=(reason, detail)
    )


def check_layout(layout: str) -> None:
    """Raises InputError for an unknown layout."""
    if layout and layout not in LAYOUTS:
        raise InputError(f"ingest.layout `{layout}`: unknown; expected one of {', '.join(LAYOUTS)}, or empty")


def recognise(folder: Path) -> str:
    """Name of the layout; `plain` if no other is recognised."""
    if next(below(folder, "meetings.xml"), None):
        return "ami"
    if any((path / "transcription").is_dir() and (path / "metadata.json").is_file() for path in folder.iterdir()):
        return "candor"
    if any(SEAMLESS.fullmatch(path.stem) for path in below(folder, "V*_P*.*")):
        return "seamless"
    return "plain"


def plain(folder: Path) -> list[SourceRow]:
    """A folder per session with a file per participant, or mixed recordings with an RTTM of the same name."""
    folders = [path for path in inside(folder) if path.is_dir()]
    recordings = [(paths[0], _mixed_recording(folder, stem, paths)) for stem, paths in media_inside(folder)]
    return _sessions(folder, [*((path, _session_folder(folder, path)) for path in folders), *recordings])


def _sessions(root: Path, recordings: Iterable[tuple[Path, list[SourceRow]]]) -> list[SourceRow]:
    """The rows of recordings, each with its path. Of two recordings with one session id, neither is used."""
    by_id: dict[str, list[tuple[Path, list[SourceRow]]]] = {}
    for path, rows in recordings:
        if rows:
            by_id.setdefault(rows[0].session_id, []).append((path, rows))
    return [row for session_id, same in by_id.items() for row in _one_session(root, session_id, same)]


def _one_session(root: Path, session_id: str, same: Sequence[tuple[Path, list[SourceRow]]]) -> list[SourceRow]:
    rows = same[0][1]
    if len(same) == 1:
        return rows
    names = [f"{path.relative_to(root)}{'/' if path.is_dir() else ''}" for path, _ in same]
    detail = f"{' and '.join(names)} are both session {session_id}; rename one of them"
    return [_unusable(session_id, "same_session", detail, uri=rows[0].uri, audio_uri=same[1][1][0].uri)]


def _session_folder(root: Path, folder: Path) -> list[SourceRow]:
    session_id = identifier(folder.name, SESSION_BYTES)
    participants: dict[str, list[tuple[str, list[Path]]]] = {}
    for stem, paths in media_inside(folder):
        participants.setdefault(identifier(stem, PARTICIPANT_BYTES), []).append((stem, paths))
    rows = []
    for participant, same in participants.items():
        paths = [path for _, paths in same for path in paths]
        uri, audio_uri, twice = one_recording(root, paths)
        if len(same) > 1:
            twice = name_in(root, paths[0]), name_in(root, paths[-1])
        if twice:
            detail = f"{twice[0]} and {twice[1]} are both recordings of participant {participant}"
            detail += "; keep one of them, or name the right one in a manifest.csv"
            rows.append(
                _unusable(session_id, "same_participant", detail, uri=uri, audio_uri=audio_uri, participant=participant)
            )
            continue
        words_uri = name_if_file(root, folder / f"{same[0][0]}.words.json")
        rows.append(
            SourceRow(session_id=session_id, participant=participant, words_uri=words_uri, uri=uri, audio_uri=audio_uri)
        )
    return rows


def _mixed_recording(root: Path, stem: str, paths: Sequence[Path]) -> list[SourceRow]:
    """One row per speaker of the RTTM, or one unusable row."""
    session_id, rttm = identifier(stem, SESSION_BYTES), root / f"{stem}.rttm"
    uri, audio_uri, twice = one_recording(root, paths)
    recording = root / uri

    def unusable(reason: str, detail: str) -> list[SourceRow]:
        return [_unusable(session_id, reason, detail, uri=uri, audio_uri=audio_uri)]

    if twice:
        detail = f"{root / twice[0]} and {twice[1]} are both recordings of session {session_id}; keep one of them"
        return unusable("same_session", detail)
    if not is_file(rttm):
        return unusable(NO_PARTICIPANTS, _who_speaks(recording, rttm, has_video=is_video(recording)))
    try:
        speakers = [name for name in read_rttm(rttm, tuple(path.name for path in paths)) if name != UNKNOWN]
    except InputError as error:
        return unusable("bad_rttm", str(error))
    if not speakers:
        return unusable("bad_rttm", f"{rttm}: no SPEAKER line; add one for each interval of speech")
    if len(speakers) > len(ascii_lowercase):
        detail = f"{rttm}: {len(speakers)} speakers, expected {len(ascii_lowercase)} or fewer"
        return unusable("bad_rttm", f"{detail}; list the participants in a manifest.csv")
    return [
        SourceRow(
            session_id=session_id, participant=participant, uri=uri, audio_uri=audio_uri, audio_kind="shared",
            rttm_uri=rttm.name, rttm_speaker=speaker,
        )
        for participant, speaker in zip(ascii_lowercase, speakers, strict=False)
    ]  # fmt: skip


def _who_speaks(recording: Path, rttm: Path, *, has_video: bool) -> str:
    """What to do with a recording that does not say who is in it."""
    known = f"{recording}: a recording without {rttm.name} next to it, so its participants are unknown; "
    if has_video:
        return known + (
            f"if it shows one participant, put the files of a session into a folder ({recording.stem}/"
            f"anna{recording.suffix}, {recording.stem}/ben{recording.suffix}); if it shows everyone, list the "
            "participants in a manifest.csv, each with a crop of the picture"
        )
    return known + (
        "add the RTTM (`python -m tools.diarize` writes one), set ingest.layout=stereo if each channel has one person, "
        "put a file per participant into a folder per session, or list the participants in a manifest.csv"
    )


def stereo(folder: Path) -> list[SourceRow]:
    """Two-channel recordings of telephone calls."""
    calls = [path for path in inside(folder) if is_audio(path) and path.is_file()]
    return _sessions(folder, [(path, _two_parties(folder, path)) for path in calls])


def _two_parties(folder: Path, path: Path) -> list[SourceRow]:
    return [
        SourceRow(
            session_id=identifier(path.stem, SESSION_BYTES), participant=participant, uri=path.name, channel=channel,
            words_uri=name_if_file(folder, folder / f"{path.stem}.{participant}.words.json"),
        )
        for channel, participant in enumerate("ab")
    ]  # fmt: skip


def seamless(folder: Path) -> list[SourceRow]:
    """A session is an interaction; vendor and participant together identify a person."""
    media: dict[str, list[Path]] = {}
    for path in below(folder, "V*_P*.*"):
        if SEAMLESS.fullmatch(path.stem) and is_media(path):
            media.setdefault(path.stem, []).append(path)
    rows = []
    for stem, paths in sorted(media.items()):
        vendor, session, interaction, participant = SEAMLESS.fullmatch(stem).groups()  # type: ignore[union-attr]
        uri, audio_uri, twice = one_recording(folder, paths)
        session_id = f"V{vendor}_S{session}_I{interaction}"
        if twice:
            detail = f"{twice[0]} and {twice[1]} are both recordings of {stem}; keep one of them"
            row = _unusable(
                session_id, "same_participant", detail, uri=uri, audio_uri=audio_uri, participant=f"P{participant}"
            )
            rows.append(row)
            continue
        rows.append(
            SourceRow(
                session_id=session_id, participant=f"P{participant}",
                speaker_id=f"V{vendor}_P{participant}", language="en", licence="CC-BY-NC-4.0",
                words_uri=next((name_if_file(folder, path.with_suffix(".json")) for path in paths
                                if path.with_suffix(".json").is_file()), None),
                uri=uri, audio_uri=audio_uri,
            )
        )  # fmt: skip
    return rows


def candor(folder: Path) -> list[SourceRow]:
    """Two people per conversation; each has a channel of the stereo audio, and a video file named after the user id."""
    homes = [path for path in inside(folder) if (path / "metadata.json").is_file()]
    return _sessions(folder, [(home, _candor_conversation(folder, home)) for home in homes])


def _candor_conversation(folder: Path, home: Path) -> list[SourceRow]:
    session_id, where = identifier(home.name, SESSION_BYTES), home / "metadata.json"
    try:
        content = parse_json(read_text(where), str(where))
        speakers = [
            (
                None if is_missing(speaker["user_id"]) else name_text(speaker["user_id"]),
                {"L": 0, "R": 1}[speaker["channel"]],
            )
            for speaker in content["speakers"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        problem = str(error) if isinstance(error, InputError) else f"{where}: {type(error).__name__}"
        detail = f"{problem}; expected speakers with user_id and channel"
        return [_unusable(session_id, "bad_metadata", detail, uri=name_in(folder, where))]
    media = [path for name in ("processed", "raw") for path in below(home / name, "*") if path.parent == home / name]
    sound = next((path for path in media if is_audio(path)), None)
    words = home / "transcription" / "transcribe_output.json"
    rows = []
    for participant, (user, channel) in zip("ab", sorted(speakers, key=lambda speaker: speaker[1]), strict=False):
        pictures = [path for path in media if user and user in path.stem and is_video(path)]
        chosen = [*pictures[:1], *([sound] if sound else [])] or [home / "processed" / f"{user}.mp4"]
        uri, audio_uri, _ = one_recording(folder, chosen)
        rows.append(
            SourceRow(
                session_id=session_id, participant=participant, speaker_id=user, language="en",
                channel=channel if sound else None, words_uri=name_if_file(folder, words),
                uri=uri, audio_uri=audio_uri,
            )
        )  # fmt: skip
    return rows


def ami(folder: Path) -> list[SourceRow]:
    """Meetings of about four people, each with a headset and a close-up camera; meetings.xml assigns them."""
    index = next(below(folder, "meetings.xml"), None)
    if index is None:
        raise InputError(f"{folder}: no meetings.xml in it; add AMI's manual annotations (corpusResources, words)")
    words = {path.name: path for path in below(folder, "*.words.xml")}
    rows = []
    meetings = parse_xml(index.read_bytes(), f"{index}").iter("meeting")
    for meeting in meetings:
        name = meeting.get("observation", "")
        home = folder / name
        if not home.is_dir():
            continue
        for speaker in meeting.iter("speaker"):
            agent = speaker.get("nxt_agent", "")
            sound = home / "audio" / f"{name}.Headset-{speaker.get('channel')}.wav"
            picture = home / "video" / f"{name}.{speaker.get('camera')}.avi"
            paths = [path for path in (picture, sound) if path.is_file()] or [sound]
            timed = words.get(f"{name}.{agent}.words.xml")
            uri, audio_uri, _ = one_recording(folder, paths)
            rows.append(
                SourceRow(
                    session_id=identifier(name, SESSION_BYTES), participant=identifier(agent, PARTICIPANT_BYTES),
                    speaker_id=speaker.get("global_name"),
                    language="en", licence="CC-BY-4.0", words_uri=name_if_file(folder, timed) if timed else None,
                    uri=uri, audio_uri=audio_uri,
                )
            )  # fmt: skip
    return rows


PLACES = {  # of recordings
    "plain": "SESSION/PARTICIPANT.mp4 or SESSION.wav + SESSION.rttm",
    "stereo": "SESSION.wav",
    "seamless": "V<vendor>_S<session>_I<interaction>_P<participant>.mp4",
    "candor": "CONVERSATION/processed/USER.mp4",
    "ami": "MEETING/audio/MEETING.Headset-N.wav and MEETING/video/MEETING.CloseupN.avi",
}
LAYOUTS: dict[str, Callable[[Path], list[SourceRow]]] = {
    "plain": plain, "stereo": stereo, "seamless": seamless, "candor": candor, "ami": ami,
}  # fmt: skip
