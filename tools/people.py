"""What the stage people found, for a person to check: `python -m tools.people`.

Writes for each recording SESSION.png (pictures of the recording with a box around each participant) and SESSION.rttm
(who speaks when), and for all of them manifest.csv, as a person would have written it. To correct something, write
lines into `<data>/corrections/SESSION.jsonl` (docs/one-camera.md has examples), and run `python -m pipelines.people`
again.
"""

import argparse
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.files import write_bytes_atomic
from pipelines.engine.jobs import Rejected
from pipelines.engine.params import build_params, read_sections
from pipelines.engine.remote import folder_at
from pipelines.engine.tables import check_data_folder, read_rows, rows_by_session
from pipelines.ingest.stage import SOURCE_NOTE
from pipelines.media.framing import Rect
from pipelines.media.probing import probe
from pipelines.media.stills import timed_stills
from pipelines.people.contact_sheet import contact_sheet
from pipelines.sources.corrections import FOLDER, crop_at
from pipelines.sources.find import find_sources
from pipelines.sources.params import SourceParams
from pipelines.sources.row import SourceRow, nameless_recording
from tools.diarize import rttm_of
from wanstreamer.clock import Span
from wanstreamer.errors import InputError

PICTURES = 12  # on a sheet
WIDE = 200  # characters: an id is not cut off in a narrow terminal, because it is the name of the file of corrections
PICTURE_SIDE = 640
COLUMNS = ("session_id", "participant", "uri", "audio_uri", "audio_kind", "rttm_uri", "rttm_speaker", "crop")


def propose(data: Path, source: SourceParams, out: Path, sessions: Sequence[str]) -> list[dict[str, Any]]:
    """Write what was found about the recordings (all, or only `sessions`); returns the rows of the table `people`.

    Raises InputError for a missing folder or table, or a session that is not in the table.
    """
    check_data_folder(data)
    found = rows_by_session(read_rows(data, "people"))
    for session in sessions:
        if session not in found:
            raise InputError(f"{data}: no people of session {session}; the table rejections may say why")
    root, rows = find_sources(
        folder_at(source.source) if source.source else data / "sources", source.layout, warn=False
    )
    recordings = {row.session_id: each for row in rows if (each := nameless_recording([row]))}
    wanted = [session for session in (sessions or sorted(found)) if session in recordings]
    if not wanted:
        raise InputError(
            f"{data}: no two people were found in any recording of {root}; python -m tools.query --data {data} "
            "\"SELECT key, reason, detail FROM rejections WHERE stage = 'people'\" says why"
        )
    lines = []
    for session in wanted:
        recording, people = recordings[session], found[session]
        speech = {row["participant"]: [Span(**span) for span in row["speech"]] for row in people}
        write_bytes_atomic(out / f"{session}.rttm", rttm_of(session, speech).encode())
        sheet = draw(root, recording, people)
        if sheet is not None:
            _, png = cv2.imencode(".png", sheet[:, :, ::-1])
            write_bytes_atomic(out / f"{session}.png", png.tobytes())
        lines += [_manifest_line(recording, row) for row in people]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_bytes_atomic(out / "manifest.csv", text.getvalue().encode())
    return [row for session in wanted for row in found[session]]


def _manifest_line(recording: SourceRow, row: Mapping[str, Any]) -> dict[str, Any]:
    """As a person would write it. A manifest has one crop per participant: the one in which the person is longest."""
    longest = max(_stretches(row), key=lambda item: item[0], default=None)
    crop = longest[1] if longest else None
    return {
        "session_id": row["session_id"], "participant": row["participant"], "uri": recording.uri,
        "audio_uri": recording.audio_uri or "", "audio_kind": "shared", "rttm_uri": f"{row['session_id']}.rttm",
        "rttm_speaker": row["participant"],
        "crop": ":".join(f"{round(crop[name])}" for name in ("x", "y", "width", "height")) if crop else "",
    }  # fmt: skip


def _stretches(row: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """(how long it lasts in ms, crop) of each row of the crop path."""
    ends = [*(crop["start_ms"] for crop in row["crops"][1:]), row["visible"][-1]["end_ms"] if row["visible"] else 0]
    return [(end_ms - crop["start_ms"], crop) for crop, end_ms in zip(row["crops"], ends, strict=False)]


def draw(root: Path, recording: SourceRow, people: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """A sheet of pictures with the crops of the participants who are visible, uint8 RGB; None without a picture."""
    ends = [span["end_ms"] for row in people for span in row["visible"]]
    if not ends:
        return None
    try:
        media = probe(root / recording.uri, video_stream=recording.video_stream)
    except Rejected as rejected:
        raise InputError(f"{root / recording.uri}: {rejected.detail}") from rejected
    size = media.width, media.height
    times_ms = [max(ends) * (2 * number + 1) // (2 * PICTURES) for number in range(PICTURES)]
    pictures, boxes, names = [], [], []
    for time_ms, picture in timed_stills(media.source, times_ms, size, Rect(0, 0, *size), PICTURE_SIDE):
        scale = picture.shape[1] / size[0]
        seen = [row for row in people if any(span["start_ms"] <= time_ms < span["end_ms"] for span in row["visible"])]
        crops = [(row["participant"], crop) for row in seen if (crop := crop_at(row["crops"], time_ms))]
        pictures.append(picture)
        boxes.append([scale * _corners(crop) for _, crop in crops])
        names.append([who for who, _ in crops])
    return contact_sheet(pictures, boxes, names) if pictures else None


def _corners(crop: Mapping[str, Any]) -> np.ndarray:
    return np.array([crop["x"], crop["y"], crop["x"] + crop["width"], crop["y"] + crop["height"]])


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A line per participant."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("recording", "who", "speaks s", "visible s", "voice", "face"):
        table.add_column(name, justify="left" if name in ("recording", "who") else "right")
    for row in rows:
        seconds = [
            sum(span["end_ms"] - span["start_ms"] for span in row[name]) / 1000 for name in ("speech", "visible")
        ]
        face = row["face_confidence"]
        figures = [*(f"{each:.1f}" for each in seconds), f"{row['voice_confidence']:.2f}"]
        table.add_row(row["session_id"], row["participant"], *figures, "off screen" if face is None else f"{face:.2f}")
    console.print(table)


def _source(data: Path, named: str) -> SourceParams:
    """Where the recordings are: as named, as of the last ingest of the data folder, or as the parameters say."""
    note = data / "parts" / SOURCE_NOTE
    if not named and note.is_file():
        of_ingest = json.loads(note.read_text())
        return SourceParams(source=of_ingest["source"], layout=of_ingest["layout"])
    sections = read_sections(Path("params.yaml"), [f"ingest.source={named}"] if named else [])
    given: Mapping[str, Any] = sections.get("ingest") or {}
    own = {name: given[name] for name in ("source", "layout") if given.get(name)}
    return build_params(SourceParams, own, "ingest")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.people", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--source",
        default="",
        help="folder or manifest of the recordings (default: that of the last ingest, or ingest.source)",
    )
    parser.add_argument("--session", action="append", default=[], metavar="ID", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help="folder to write to (default: <data>/reports/people)")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        source = _source(args.data, args.source)
        out = args.out or args.data / "reports" / "people"
        rows = propose(args.data, source, out, args.session)
        show(rows, Console(width=WIDE))
        print(
            f"{len(rows) // 2} recordings in {out}: manifest.csv, and for each its speech (.rttm) and, if there is a "
            "face, its pictures (.png)"
        )
        print(
            f"wrong? write lines into {args.data / FOLDER}/RECORDING.jsonl (docs/one-camera.md), and run the same "
            "stages again"
        )


if __name__ == "__main__":
    main()
