"""The files of a folder of recordings: which are media, which belong together, and which no source row uses.

What the system of a Mac or an archive leaves in folders (`._a.mp4`, `__MACOSX`) is ignored, as are all
hidden files.
"""

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.sources.row import SourceRow

# Names of media files, as cameras, recorders, players and programs give them; ffmpeg reads all of these.
_VIDEO = """
.264 .265 .266 .3g2 .3gp .3gp2 .3gpp .amv .asf .av1 .avi .bik .cavs .dav .dif .divx .dv .dvr-ms .f4v .flv .gxf
.h261 .h263 .h264 .h265 .h26l .hevc .insv .isma .ismv .ivf .ivr .kux .lrv .m1v .m2p .m2t .m2ts .m2v .m4v .mj2
.mjpeg .mjpg .mk3d .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mpv .mts .mxf .mxg .nsv .nut .obu .ogm .ogv .ogx .psp .qt
.rm .rmvb .smjpeg .tod .tp .trp .ts .ty .vc1 .viv .vob .vro .vvc .webm .wm .wmv .wtv .xmv .y4m
"""
_AUDIO = """
.722 .aa .aa3 .aac .aax .ac3 .ac4 .adts .aif .aifc .aiff .al .alac .amr .ape .aptx .aptxhd .au .awb .bwf .c2 .caf
.dff .dfpwm .dsf .dss .dts .dtshd .eac3 .ec3 .f4a .flac .fsb .g722 .g723_1 .g726 .g728 .g729 .gsm .hca .iamf .ircam
.kss .latm .lc3 .loas .m2a .m4a .m4b .m4r .mac .mka .mlp .mp1 .mp2 .mp3 .mpa .mpc .mpga .msbc .nist .oga .ogg .oma
.omg .opus .osq .paf .pvf .qcp .qoa .ra .rf64 .sbc .sds .sf .shn .sln .snd .sph .spx .tak .thd .tta .ul .voc .vqf
.w64 .wav .wave .weba .wma .wsd .wv .xwma
"""
VIDEO_SUFFIXES, AUDIO_SUFFIXES = frozenset(_VIDEO.split()), frozenset(_AUDIO.split())
SIDECARS = (".words.json", ".rttm")


def one_recording(root: Path, paths: Iterable[Path]) -> tuple[str, str | None, tuple[str, str] | None]:
    """`uri` and `audio_uri` of the files of one recording, and two files with the same kind of content, if there are.

    A video file has the picture. Its sound counts only if there is no sound file.
    """
    pictures: list[str] = []
    sounds: list[str] = []
    for path in sorted(paths):
        (pictures if is_video(path) else sounds).append(name_in(root, path))
    twice = next(((same[0], same[1]) for same in (pictures, sounds) if len(same) > 1), None)
    if not pictures:
        return sounds[0], sounds[1] if twice else None, twice
    return pictures[0], next(iter(sounds), pictures[1] if twice else None), twice


def media_inside(folder: Path) -> list[tuple[str, list[Path]]]:
    """The media files directly in a folder, by their names without suffix."""
    by_stem: dict[str, list[Path]] = {}
    for path in inside(folder):
        if is_media(path) and not path.is_dir():
            by_stem.setdefault(path.stem, []).append(path)
    return list(by_stem.items())


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES


def is_media(path: Path) -> bool:
    return is_video(path) or is_audio(path)


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def inside(folder: Path) -> list[Path]:
    """The files and folders directly in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if not _is_litter(path.name))


def name_in(root: Path, path: Path) -> str:
    return str(path.relative_to(root))


def printable(name: str) -> str:
    r"""A name of a file, whose bytes may not be UTF-8, as text.

    >>> printable(b"caf\xe9.wav".decode(errors="surrogateescape"))
    'caf\\udce9.wav'
    """
    return name.encode(errors="backslashreplace").decode()


def name_if_file(root: Path, path: Path) -> str | None:
    return name_in(root, path) if is_file(path) else None


def is_file(path: Path) -> bool:
    """False also for a name that is too long for the file system, as that of a word file beside a long name may be."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def below(folder: Path, pattern: str) -> Iterator[Path]:
    """The files in a folder and in its folders, sorted. Links to folders are not followed."""
    for path in sorted(folder.rglob(pattern)):
        if not any(map(_is_litter, path.relative_to(folder).parts)) and path.is_file():
            yield path


def passed_over(folder: Path, rows: Iterable[SourceRow]) -> list[str]:
    """Media files that no row names, because they are not where the layout has recordings."""
    named = {name for row in rows for name in (row.uri, row.audio_uri)}
    media = (printable(name_in(folder, path)) for path in below(folder, "*") if is_media(path))
    return sorted(name for name in media if name not in named)


def unnamed_sidecars(folder: Path, rows: Iterable[SourceRow]) -> list[str]:
    """Word files and RTTM files without a recording of the same name: probably a typing mistake."""
    named = {name for row in rows for name in (row.words_uri, row.rttm_uri)}
    sidecars = (name_if_file(folder, path) for suffix in SIDECARS for path in below(folder, f"*{suffix}"))
    return sorted(name for name in sidecars if name and name not in named)
