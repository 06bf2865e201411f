"""A data folder of format 1: refused in one line, and upgraded."""

from pathlib import Path

import pytest

from pipelines.engine.tables import read_rows
from tests.helpers.small_corpus import Person, write_corpus
from tools.upgrade import find_old, main
from wanstreamer.errors import InputError

OLD = (
    "tables/tracks.parquet",
    "tables/rejections/ingest.parquet",
    "parts/ingest/s1/part.json",
    "parts/ingest-hashes.json",
    "tracks/talk-0000/a.mp4",
    "latents/talk-0000.tar",
    "windows/talk-0000.tar",
    "windows/index.parquet",
    "windows/manifest.json",
)
STAYS = ("sources/s1/a.mp4", "models/vae/audio.safetensors", "forgotten.json", "reports/x.png", "parts/stores.json")


def write_old(data: Path) -> None:
    for name in (*OLD, *STAYS):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("x")


def test_an_old_folder_is_refused_in_one_line_that_names_the_tool(tmp_path: Path) -> None:
    write_old(tmp_path)
    with pytest.raises(InputError, match="older version; run python -m tools.upgrade --data"):
        read_rows(tmp_path, "tracks")


def test_only_what_has_another_form_now_is_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_old(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path)])
    assert ended.value.code == 2 and "--yes" in capsys.readouterr().err
    main(["--data", str(tmp_path), "--dry-run"])
    assert all((tmp_path / name).is_file() for name in OLD)
    main(["--data", str(tmp_path), "--yes"])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*STAYS, ".lock"}


def test_a_folder_of_the_present_form_has_nothing_to_upgrade(tmp_path: Path) -> None:
    write_corpus(tmp_path, {"s1": ("train", 8, {"a": Person(), "b": Person()})})
    (tmp_path / "tracks" / "a3").mkdir(parents=True)
    (tmp_path / "tracks" / "a3" / "s1.a.mp4").touch()
    assert find_old(tmp_path).paths == []
