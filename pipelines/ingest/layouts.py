"""A folder of recordings -> source rows, with one small function per layout.

    plain     SESSION/PARTICIPANT.mp4 (any container); an audio file of the same name has its sound, and
              SESSION/PARTICIPANT.words.json its words; or SESSION.wav + SESSION.rttm, one mixed recording
    stereo    SESSION.wav: a telephone call with a person on each channel; SESSION.a.words.json, SESSION.b...
    seamless  Seamless Interaction: V<vendor>_S<session>_I<interaction>_P<participant>.mp4, .wav, .json anywhere below
    candor    CANDOR: CONVERSATION/{processed,raw}/ media, metadata.json, transcription/transcribe_output.json
    ami       AMI: MEETING/audio/MEETING.Headset-N.wav, MEETING/video/MEETING.CloseupN.avi and the NXT annotations

The layouts of corpora follow their public documentation; none of them has been run on the corpus itself. If only a part
of a corpus is present, ingest rejects the sessions without files as `missing_file` and uses the rest.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pipelines.formats.rttm import read_rttm
from pipelines.ingest.source_row import AUDIO_SUFFIXES, VIDEO_SUFFIXES, SourceRow, identifier
from wanstreamer.errors import InputError

SIDECARS = (".words.json", ".rttm")
SEAMLESS = re.compile(r"V(\w+?)_S(\w+?)_I(\w+?)_P(\w+)")


def rows_of_folder(folder: Path, layout: str = "") -> list[SourceRow]:
    """Sources of a folder. If the layout is not named, it is recognised by typical files.

    Raises InputError for an unknown layout, and for files that do not fit the layout, which only the user can fix.
    """
    check_layout(layout)
    return LAYOUTS[layout or recognise(folder)](folder)


def check_layout(layout: str) -> None:
    """Raises InputError for an unknown layout."""
    if layout and layout not in LAYOUTS:
        raise InputError(f"ingest.layout `{layout}`: unknown; expected one of {', '.join(LAYOUTS)}, or empty")


def recognise(folder: Path) -> str:
    """Name of the layout; `plain` if no other is recognised."""
    if next(_below(folder, "meetings.xml"), None):
        return "ami"
    if any((path / "transcription").is_dir() and (path / "metadata.json").is_file() for path in folder.iterdir()):
        return "candor"
    if any(SEAMLESS.fullmatch(path.stem) for path in _below(folder, "V*_P*.*")):
        return "seamless"
    return "plain"


def plain(folder: Path) -> list[SourceRow]:
    """A folder per session with a file per participant, or mixed recordings with an RTTM of the same name."""
    rows: list[SourceRow] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            rows += _session_folder(folder, path)
        elif path.suffix.lower() in VIDEO_SUFFIXES + AUDIO_SUFFIXES:
            rows += _mixed_recording(folder, path)
    return rows


def _session_folder(root: Path, folder: Path) -> list[SourceRow]:
    media: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in VIDEO_SUFFIXES + AUDIO_SUFFIXES:
            media.setdefault(path.stem, []).append(path)
    return [
        SourceRow(
            session_id=identifier(folder.name), participant=identifier(stem),
            words_uri=_relative(root, folder / f"{stem}.words.json"), uri=uri, audio_uri=audio_uri,
        )
        for stem, paths in media.items()
        for uri, audio_uri in [_picture_and_sound(root, paths)]
    ]  # fmt: skip


def _mixed_recording(root: Path, path: Path) -> list[SourceRow]:
    rttm = path.with_suffix(".rttm")
    if not rttm.is_file():
        raise InputError(
            f"{path}: a recording without {rttm.name} next to it, so its participants are unknown; add the RTTM "
            "(`python -m tools.diarize` writes one), set ingest.layout=stereo if each channel has one person, put a "
            "file per participant into a folder per session, or list the participants in a manifest.csv"
        )
    speakers = list(read_rttm(rttm, (path.name,)))
    if len(speakers) > 26:
        raise InputError(
            f"{rttm}: {len(speakers)} speakers, expected 26 or fewer; list the participants in a manifest.csv"
        )
    return [
        SourceRow(
            session_id=identifier(path.stem), participant=chr(ord("a") + index), uri=path.name, audio_kind="shared",
            rttm_uri=rttm.name, rttm_speaker=speaker,
        )
        for index, speaker in enumerate(speakers)
    ]  # fmt: skip


def unnamed_sidecars(folder: Path, rows: Iterable[SourceRow]) -> list[str]:
    """Word files and RTTM files without a recording of the same name: probably a typing mistake."""
    named = {name for row in rows for name in (row.words_uri, row.rttm_uri)}
    sidecars = (_relative(folder, path) for suffix in SIDECARS for path in _below(folder, f"*{suffix}"))
    return sorted(name for name in sidecars if name and name not in named)


def stereo(folder: Path) -> list[SourceRow]:
    """Two-channel recordings of telephone calls."""
    return [
        SourceRow(
            session_id=identifier(path.stem), participant=participant, uri=path.name, channel=channel,
            words_uri=_relative(folder, path.with_suffix(f".{participant}.words.json")),
        )
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_SUFFIXES
        for channel, participant in enumerate("ab")
    ]  # fmt: skip


def seamless(folder: Path) -> list[SourceRow]:
    """A session is an interaction; vendor and participant together identify a person."""
    media: dict[str, list[Path]] = {}
    for path in _below(folder, "V*_P*.*"):
        if SEAMLESS.fullmatch(path.stem) and path.suffix.lower() in VIDEO_SUFFIXES + AUDIO_SUFFIXES:
            media.setdefault(path.stem, []).append(path)
    rows = []
    for stem, paths in sorted(media.items()):
        vendor, session, interaction, participant = SEAMLESS.fullmatch(stem).groups()  # type: ignore[union-attr]
        uri, audio_uri = _picture_and_sound(folder, paths)
        rows.append(
            SourceRow(
                session_id=f"V{vendor}_S{session}_I{interaction}", participant=f"P{participant}",
                speaker_id=f"V{vendor}_P{participant}", language="en", licence="CC-BY-NC-4.0",
                words_uri=next((_relative(folder, path.with_suffix(".json")) for path in paths
                                if path.with_suffix(".json").is_file()), None),
                uri=uri, audio_uri=audio_uri,
            )
        )  # fmt: skip
    return rows


def candor(folder: Path) -> list[SourceRow]:
    """Two people per conversation; each has a channel of the stereo audio, and a video file named after the user id."""
    rows = []
    for home in sorted(path for path in folder.iterdir() if (path / "metadata.json").is_file()):
        where = home / "metadata.json"
        try:
            speakers = [
                (str(speaker["user_id"]), {"L": 0, "R": 1}[speaker["channel"]]) for speaker in _json(where)["speakers"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: {type(error).__name__}; expected speakers with user_id and channel") from error
        media = [path for name in ("processed", "raw") for path in sorted((home / name).glob("*"))]
        sound = next((path for path in media if path.suffix.lower() in AUDIO_SUFFIXES), None)
        words = home / "transcription" / "transcribe_output.json"
        for participant, (user, channel) in zip("ab", sorted(speakers, key=lambda speaker: speaker[1]), strict=False):
            pictures = [path for path in media if user in path.stem and path.suffix.lower() in VIDEO_SUFFIXES]
            chosen = [*pictures[:1], *([sound] if sound else [])] or [home / "processed" / f"{user}.mp4"]
            uri, audio_uri = _picture_and_sound(folder, chosen)
            rows.append(
                SourceRow(
                    session_id=identifier(home.name), participant=participant, speaker_id=user, language="en",
                    channel=channel if sound else None, words_uri=_relative(folder, words),
                    uri=uri, audio_uri=audio_uri,
                )
            )  # fmt: skip
    return rows


def ami(folder: Path) -> list[SourceRow]:
    """Meetings of about four people, each with a headset and a close-up camera; meetings.xml assigns them."""
    index = next(_below(folder, "meetings.xml"), None)
    if index is None:
        raise InputError(f"{folder}: no meetings.xml in it; add AMI's manual annotations (corpusResources, words)")
    words = {path.name: path for path in _below(folder, "*.words.xml")}
    rows = []
    for meeting in ElementTree.fromstring(index.read_bytes()).iter("meeting"):
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
            uri, audio_uri = _picture_and_sound(folder, paths)
            rows.append(
                SourceRow(
                    session_id=identifier(name), participant=identifier(agent), speaker_id=speaker.get("global_name"),
                    language="en", licence="CC-BY-4.0", words_uri=_relative(folder, timed) if timed else None,
                    uri=uri, audio_uri=audio_uri,
                )
            )  # fmt: skip
    return rows


LAYOUTS: dict[str, Callable[[Path], list[SourceRow]]] = {
    "plain": plain, "stereo": stereo, "seamless": seamless, "candor": candor, "ami": ami,
}  # fmt: skip


def _picture_and_sound(root: Path, paths: Iterable[Path]) -> tuple[str, str | None]:
    """`uri` and `audio_uri` of one participant's files: the video first; an audio file next to it has its sound."""
    first, *rest = sorted(paths, key=lambda path: path.suffix.lower() in AUDIO_SUFFIXES)
    return str(first.relative_to(root)), str(rest[0].relative_to(root)) if rest else None


def _relative(root: Path, path: Path) -> str | None:
    return str(path.relative_to(root)) if path.is_file() else None


def _below(folder: Path, pattern: str) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob(pattern)) if path.is_file())


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
