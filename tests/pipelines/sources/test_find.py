"""Manifests and folders of recordings: mistakes are one clear line, and no path leads out."""

import csv
import json
from pathlib import Path

import pytest

from pipelines.sources.find import find_sources, read_manifest
from wanstreamer.errors import InputError


def test_mistakes_in_a_manifest_are_one_clear_line(tmp_path: Path) -> None:
    def write(**columns: object) -> Path:
        path = tmp_path / "manifest.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerow(columns)
        return path

    good = {"session_id": "s", "uri": "a.mp4"}
    for columns, said in (
        ({**good, "colour": "red"}, "unknown column `colour`"),
        ({"session_id": "s"}, "no uri"),
        ({**good, "session_id": "a.b"}, "session_id `a.b`"),
        ({**good, "crop": "1:2:3"}, "crop `1:2:3`"),
        ({**good, "channel": "left"}, "channel `left`"),
        ({**good, "consent": "all"}, "consent `all`"),
        ({**good, "audio_kind": "both"}, "audio_kind `both`"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            read_manifest(write(**columns))
        assert "\n" not in str(caught.value) and "manifest.csv row 1" in str(caught.value)
    with pytest.raises(InputError, match="partners `b`: expected other participants"):
        find_sources(write(**good, partners="b"))
    with pytest.raises(InputError, match="no such folder"):
        find_sources(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recordings found"):
        find_sources(tmp_path / "empty")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"session_id;uri\ns;a.mp4\n", "separated by ';'"), (b"session_id\turi\ns\ta.mp4\n", r"separated by '\\t'"),
     ("session_id,uri\ns,\u00e4.mp4\n".encode("latin-1"), "save it as UTF-8")],
)  # fmt: skip
def test_what_a_spreadsheet_saves_is_told_apart(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        find_sources(tmp_path)


@pytest.mark.parametrize("uri", ["/etc/passwd", "../x.mp4", "a/../../x.mp4", "a\0.mp4"])
@pytest.mark.parametrize("column", ["uri", "audio_uri", "words_uri", "rttm_uri"])
def test_no_path_leads_out_of_the_source(tmp_path: Path, column: str, uri: str) -> None:
    row = {"session_id": "s", "uri": "a.mp4"} | {column: uri}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=f"s/a: {column} .* leads out of the source folder"):
        find_sources(tmp_path)
