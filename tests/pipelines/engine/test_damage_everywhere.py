"""A file of any kind rots, in the data folder or in its store: no window is wrong, and verify and reruns repair it."""

import random
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.helpers.counted_jobs import contents
from tests.helpers.counts import count
from tests.helpers.damage import DAMAGES
from tests.helpers.fault_points import corpus, make_small
from tests.helpers.staged_corpus import stage_corpus
from tools.compact import compact_folder
from tools.verify import main, mark, verify
from wanstreamer.errors import InputError

CORPUS = corpus("s1", "s2", "s3", "s4", "s5")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder and a store; a copy lies beside it."""
    home = tmp_path_factory.mktemp("rot") / "home"
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        stage(home)
    shutil.copytree(home, home.with_name("whole"))
    return home


def stage(home: Path) -> None:
    stage_corpus(home / "data", CORPUS, store=str(home / "store"))


def kind_of(name: str) -> str:
    """The name of a file without what differs from session to session and bucket to bucket."""
    return re.sub(r"[0-9a-f]{16}|(?<=/tracks/)[0-9a-f]{2}(?=/)|\d+", "N", name)


def windows(home: Path, but: Path | None = None) -> dict[str, bytes]:
    """The members of all windows, except those of the shard `but`."""
    found = {}
    for path in (home / "data" / "windows").rglob("*.tar"):
        if path == but:
            continue
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def settle(home: Path, right: dict[str, bytes], damaged: Path | None = None) -> None:
    """Run all stages, and again while they say that something is undone. No run may leave a wrong window.

    `damaged`: what the damage is in; if it is a shard of windows, its readers find it.
    """
    for _ in range(4):
        try:
            stage(home)
        except InputError:
            continue
        finally:
            assert windows(home, damaged).items() <= right.items()
        return
    raise AssertionError("not repaired after four runs")


@pytest.mark.slow
@pytest.mark.counts
@pytest.mark.parametrize("number", range(count(200, 6)))
def test_rot_reaches_no_window_and_is_repaired(home: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    make_small(monkeypatch)
    chance = random.Random(number)
    whole = home.with_name("whole")
    shutil.rmtree(home)
    shutil.copytree(whole, home)
    right, expected = windows(whole), contents(whole)
    kinds: dict[str, list[str]] = {}
    for name in expected:
        if name.startswith(("data/", "store/")):
            kinds.setdefault(kind_of(name), []).append(name)
    names = list(kinds.values())[(number * 7919) % len(kinds)]
    path = home / chance.choice(names)
    chance.choice(DAMAGES)(path, chance)
    if path.is_relative_to(home / "store") and chance.random() < 0.5:
        shutil.rmtree(home / "data")  # a new machine: all comes from the store
    settle(home, right, path)
    if not path.is_relative_to(home / "data" / "windows"):
        assert windows(home) == right
    stores = [str(home / "store")]
    damages = verify(home / "data", stores=stores).damages
    if damages:
        mark(home / "data", damages)
        settle(home, right)
    assert verify(home / "data", stores=stores).damages == []
    compact_folder(home / "data")
    stage(home)
    found = contents(home)
    different = {name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name)}
    if "/state/" in str(path):  # its checksum is one of its content: some bytes of the file hold nothing
        different -= {path.relative_to(home).as_posix()}
    assert different == set()


@pytest.mark.slow
def test_the_command_lists_what_is_damaged_in_a_store_and_runs_the_stages_with_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(home)
    shutil.copytree(home.with_name("whole"), home)
    part = next((home / "store" / "parts" / "encode" / "s2").rglob("0.segment"))
    part.write_bytes(part.read_bytes()[::-1])
    table = home / "store" / "tables" / "turns" / "b=0001.parquet"
    table.unlink()
    data = ["--data", str(home / "data")]
    main(data)  # without --store, only the data folder
    assert "none damaged" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*data, "--store"])
    listed = capsys.readouterr().out
    assert f"{part.with_name('part.zip')}: 0.segment: its checksum differs (encode; sessions: s2)" in listed
    assert f"{table}: is missing (annotate)" in listed

    commands: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        if len(commands) == 2:
            make_small(monkeypatch)
            stage(home)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("tools.verify.subprocess.run", run)
    main([*data, "--store", str(home / "store"), "--repair"])
    assert [command[2] for command in commands] == ["pipelines.annotate", "pipelines.encode"]
    assert all(command[-2:] == ["--set", f"run.store={home / 'store'}"] for command in commands)
    assert "all repaired" in capsys.readouterr().out
