"""Random damage in every kind of text that a person may hand in, through the commands: no traceback, no hang, and no
session that vanishes.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.engine.tables import read_rows
from pipelines.ingest import stage as ingest
from pipelines.media.tracks import write_wav
from tests.helpers.counts import count, seeds
from tests.helpers.fuzzed_text import damaged, exchange_files, words_file
from tests.helpers.small_corpus import keep_in_process
from tools import convert, events
from tools.exchange.formats import WRITABLE

GROUPS = 20  # of examples, so that they can be spread
EXCHANGED, INGESTED = 320 // GROUPS, 180 // GROUPS  # examples in a group: 500 in all groups
LONGEST_S = 20.0
RATE_HZ = 16000
REPORTS = ("ingest: ", "input: ", "events: ", *(f"{form}: " for form in WRITABLE))


def run(main: Callable[[], None], capsys: pytest.CaptureFixture[str], what: str) -> int:
    """Exit code of a command: 0, or 2 with one line about the error. Nothing else, and no traceback."""
    began_s = time.process_time()
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    lines = capsys.readouterr().err.splitlines()
    assert code in (0, 2) and time.process_time() - began_s < LONGEST_S, what
    errors = [
        line for line in lines if not line.startswith(("ingest: ", "input: ", "events: ", *(f"{f}:" for f in WRITABLE)))
    ]
    assert len(errors) == (code == 2) and all(line.startswith("error: ") for line in errors), (what, errors)
    return code


@pytest.mark.counts
@pytest.mark.parametrize("seed", seeds(GROUPS, 1))
def test_files_of_other_programs(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    files = exchange_files()
    codes = []
    for example in range(count(EXCHANGED, EXCHANGED)):
        name = rng.choice(sorted(files))
        path = tmp_path / str(example) / name
        path.parent.mkdir()
        path.write_bytes(damaged(files[name], rng))
        what = f"seed {seed} example {example}: {name}"
        form = rng.choice(WRITABLE)
        arguments = [str(path), "--to", form, "--out", str(tmp_path / f"{example}.{form}"), "--force"]
        codes.append(run(lambda arguments=arguments: convert.main(arguments), capsys, what))  # type: ignore[misc]
        arguments = [str(path), "--out", str(tmp_path / f"{example}.parquet")]
        codes.append(run(lambda arguments=arguments: events.main(arguments), capsys, what))  # type: ignore[misc]
    assert 0 in codes and 2 in codes, "the damage is neither nothing nor everything"


SESSIONS = ("one", "two", "three")
RTTM = "".join(
    f"SPEAKER {name} 1 {at} 0.3 <NA> <NA> {who} <NA> <NA>\n"
    for name in ("call", "other")
    for at, who in ((0.1, "anna"), (0.5, "ben"))
)  # fmt: skip


def write_source(folder: Path, kind: str, rng: random.Random) -> tuple[Path, set[str]]:
    """A folder with one damaged file of text. Returns what to ingest, and the sessions that may not vanish."""
    folder.mkdir()
    for name in ("a", "b"):
        write_wav(folder / f"{name}.wav", np.full(RATE_HZ, 0.1, np.float32), RATE_HZ)
    if kind == "words":
        (folder / "s").mkdir()
        for name in ("a", "b"):
            (folder / f"{name}.wav").rename(folder / "s" / f"{name}.wav")
        (folder / "s" / "a.words.json").write_bytes(damaged(words_file(), rng))
        return folder, {"s"}
    if kind == "rttm":
        (folder / "a.wav").rename(folder / "call.wav")
        (folder / "call.rttm").write_bytes(damaged(RTTM.encode(), rng))
        lines = ["session_id,uri,audio_kind,rttm_uri,rttm_speaker", "s,call.wav,shared,call.rttm,anna", "t,b.wav,,,"]
        (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
        return folder / "manifest.csv", {"s", "t"}
    rows = [f"{name},{who},{who}.wav,{name}-{who},train;share,en" for name in SESSIONS for who in "ab"]
    lines = ["session_id,participant,uri,speaker_id,consent,language", *rows]
    if kind == "manifest.jsonl":
        names = lines[0].split(",")
        lines = [
            "{" + ", ".join(f'"{n}": "{v}"' for n, v in zip(names, row.split(","), strict=True)) + "}" for row in rows
        ]
    content = damaged(("\n".join(lines) + "\n").encode(), rng)
    (folder / kind).write_bytes(content)
    whole = set(content.decode(errors="replace").split("\n"))
    both = [place for place in range(len(rows)) if lines[len(lines) - len(rows) + place] in whole]
    kept = {SESSIONS[place // 2] for place in both}
    return folder / kind, set() if kind == "manifest.csv" and b'"' in content else kept


@pytest.mark.counts
@pytest.mark.parametrize("seed", seeds(GROUPS, 1))
def test_what_ingest_reads(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    rng = random.Random(1000 + seed)
    for example in range(count(INGESTED, 4)):
        kind = ("manifest.csv", "manifest.jsonl", "words", "rttm")[example % 4]
        source, present = write_source(tmp_path / f"in{example}", kind, rng)
        data = tmp_path / f"out{example}" / "data"
        what = f"seed {seed} example {example}: {kind}"
        arguments = ["ingest", "--data", str(data), "--set", f"ingest.source={source}", "--workers", "1"]
        monkeypatch.setattr(sys, "argv", arguments)
        code = run(ingest.main, capsys, what)
        if code == 0:
            accounted = {row["session_id"] for row in read_rows(data, "sessions")}
            accounted |= {row["key"].partition("/")[0] for row in read_rows(data, "rejections/ingest")}
            assert present <= accounted, what
