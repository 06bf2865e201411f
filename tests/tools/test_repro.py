"""`make repro` shows where it is: DVC's lines rewritten, its advice left out, its errors and exit codes passed on."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.ctrl_c import hear_ctrl_c
from tests.helpers.paths import ROOT
from tools import repro
from wanstreamer.errors import InputError

# As DVC 3 prints it.
RUN = """\
'data.dvc' didn't change, skipping
Stage 'sample' didn't change, skipping
Running stage 'ingest':
> python -m pipelines.ingest
ingest: 41 of 41 sessions in 60.0 s

the stage's own empty line stays
Generating lock file 'dvc.lock'
Updating lock file 'dvc.lock'

Stage 'quality' is cached - skipping run, checking out outputs
\x1b[32mRunning stage 'annotate':\x1b[0m
> python -m pipelines.annotate
Updating lock file 'dvc.lock'

To track the changes with git, run:

\tgit add dvc.lock

To enable auto staging, run:

\tdvc config core.autostage true
Use `dvc push` to send your updates to remote storage.
"""


def shown(text: str, stages: list[str], expected_s: dict[str, float], seconds_per_line: float = 0) -> list[str]:
    """What is printed where each line of DVC comes `seconds_per_line` after the one before it."""
    at_s = 0.0

    def lines() -> Iterator[str]:
        nonlocal at_s
        for line in text.splitlines(keepends=True):
            at_s += seconds_per_line
            yield line

    return list(repro.Progress(stages, expected_s, now=lambda: at_s).lines(lines()))


def test_dvcs_lines_become_ours_and_its_advice_is_left_out() -> None:
    stages = ["sample", "ingest", "quality", "annotate", "evaluate"]
    expected_s = {"sample": 100.0, "ingest": 30.0, "quality": 40.0, "annotate": 60.0, "evaluate": 90.0}
    assert shown(RUN, stages, expected_s, seconds_per_line=10) == [
        "'data.dvc' didn't change, skipping",
        "[1/5] sample: up to date",
        "[2/5] ingest: 30 s so far, about 4 min left",  # 30 + 40 + 60 + 90
        "ingest: 41 of 41 sessions in 60.0 s",
        "",
        "the stage's own empty line stays",
        "[3/5] quality: up to date",
        # ingest took 50 s and 30 were expected: the rest is expected to take as much longer.
        "[4/5] annotate: 2 min 0 s so far, about 4 min left",  # (60 + 90) * 50 / 30
    ]


def test_a_quick_stage_makes_no_promise_for_the_rest() -> None:
    text = "Running stage 'ingest':\nUpdating lock file 'dvc.lock'\nRunning stage 'annotate':\n"
    lines = shown(text, ["ingest", "annotate"], {"ingest": 600.0, "annotate": 60.0}, seconds_per_line=1)
    assert lines[1] == "[2/2] annotate: 3 s so far, about 1 min 0 s left"


def test_stages_and_their_times_are_those_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = repro.stages_of("evaluate", ROOT)
    before = ["sample", "people", "ingest", "quality", "annotate", "vae", "encode", "pack"]
    assert stages == [*before, "duplex", "evaluate"]
    assert set(stages) == set(repro.TYPICAL_S)
    timings = tmp_path / "timings"
    timings.mkdir()
    (timings / "vae.json").write_text('{"wall_s": 1000.5}')
    expected = repro.expected_times(["vae", "encode"], tmp_path)
    assert expected == {"vae": 1000.5 + repro.START_S, "encode": repro.TYPICAL_S["encode"] + repro.START_S}
    with pytest.raises(InputError, match="evaluation: no such stage; the stages are sample, people, ingest"):
        repro.stages_of("evaluation", ROOT)
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text().replace("source: data/sources", "source: mine"))
    assert "sample" not in repro.stages_of("evaluate", tmp_path), "own recordings need no sample"


def start(folder: Path, *arguments: str, dvc: str = "") -> subprocess.Popen[str]:
    """The command in a folder, in a process group of its own as in a terminal; no Ray is started for it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "127.0.0.1:1"}
    if dvc:
        (folder / "bin").mkdir()
        (folder / "bin/dvc").write_text(f"#!{sys.executable}\n{textwrap.dedent(dvc)}")
        (folder / "bin/dvc").chmod(0o755)
        environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    else:
        environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        [sys.executable, "-m", "tools.repro", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  first: {cmd: echo one > one, outs: [one: {cache: false}]}\n"
        "  second: {cmd: sh second.sh, deps: [one, second.sh], outs: [two: {cache: false}]}\n"
        "  other: {cmd: echo three > three, outs: [three: {cache: false}]}\n"
    )
    (tmp_path / "second.sh").write_text("echo progress >&2; echo done; cat one > two\n")
    return tmp_path


def test_exit_code_and_errors_are_dvcs(folder: Path) -> None:
    run = start(
        folder, "second", "--force",
        dvc="""
        import sys
        print(sys.argv[1:])
        print("Running stage 'second':", flush=True)
        print("ERROR: failed to reproduce 'second'", file=sys.stderr)
        sys.exit(247)
        """,
    )  # fmt: skip
    out, err = run.communicate(timeout=60)
    assert run.returncode == 247
    assert out.splitlines()[0] == "['repro', 'second', '--force']" and out.splitlines()[1].startswith(
        "[1/2] second: 0 s"
    )
    assert err.splitlines()[0] == "ERROR: failed to reproduce 'second'"
    assert "failed after 0 s in [1/2] second; finished work is kept, and the same command continues" in err


def test_lines_come_as_they_are_printed_and_ctrl_c_stops_both(folder: Path) -> None:
    run = start(
        folder, "second",
        dvc="""
        import sys, time
        try:
            print("Running stage 'first':", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("first: stopped", file=sys.stderr, flush=True)
            time.sleep(1)  # longer than Popen gives it by itself
            sys.exit(252)
        """,
    )  # fmt: skip
    assert run.stdout is not None
    assert run.stdout.readline().startswith("[1/2] first: 0 s so far, about ")
    began_s = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 252 and time.monotonic() - began_s < 30
    assert err.splitlines()[0] == "first: stopped" and "Traceback" not in err
    assert "repro: stopped after" in err and "the same command continues from there" in err


def test_a_mistake_is_one_line(folder: Path) -> None:
    run = start(folder, "thrid")
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2 and err == "error: thrid: no such stage; the stages are first, second, other\n"


def test_with_dvc_itself(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
    run = start(folder, "second")
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0, err
    first, second, said, last = out.splitlines()
    assert first.startswith("[1/2] first: ") and second.startswith("[2/2] second: ") and said == "done"
    assert last.startswith("repro: 2 of 2 stages were out of date; done in")
    assert err.splitlines() == ["progress"]
    run = start(folder, "second")
    out, err = run.communicate(timeout=120)
    assert out.splitlines()[:2] == ["[1/2] first: up to date", "[2/2] second: up to date"]
    assert out.splitlines()[2].startswith("repro: everything is up to date")
    (folder / "second.sh").write_text("exit 3\n")
    run = start(folder, "second")
    out, err = run.communicate(timeout=120)
    assert run.returncode == 255 and "exited with 3" in err and "failed after" in err
