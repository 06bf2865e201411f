"""A training on several folders: it resumes to the same bytes, reports what it reads, and never mixes splits."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from pipelines.engine.params import build_params, read_sections
from pipelines.engine.run import RunParams
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from pipelines.train import duplex
from pipelines.train import stage as training
from pipelines.train.blend import open_training
from pipelines.train.params import DuplexParams, WindowFolder
from tests.helpers.packed_windows import rewrite
from tests.helpers.small_corpus import Person, keep_in_process, write_corpus
from wanstreamer.errors import InputError
from wanstreamer.train.steps import Scalars
from wanstreamer.windows.blend import Blend

TINY = DuplexParams(
    steps=6, batch_size=3, warmup_steps=2, d_model=32, num_layers=1, num_heads=1, d_ff=32, log_every=3,
    checkpoint_s=0, threads=1, prior_batches=2,
)  # fmt: skip


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The data folder, with a valid dyad; and windows of other people, packed with the same VAEs and tokenizer."""
    people = {"a": Person(words=[("red", 330, 470)], speech_units={2}), "b": Person()}
    write_corpus(tmp_path / "data", {"s0": ("train", 20, people), "s1": ("valid", 15, people)})
    keep_in_process(monkeypatch)
    pack.run(tmp_path / "data", PackParams(window_units=8, stride_units=4), RunParams(workers=1))
    other = tmp_path / "calls" / "windows"
    shutil.copytree(tmp_path / "data" / "windows", other)
    rename_people(other, lambda name: f"call-{name}")
    return tmp_path / "data", other


def rename_people(folder: Path, name: Callable[[str], str]) -> None:
    names = ("agent_speaker_id", "user_speaker_id")
    rewrite(folder, lambda s: s._replace(row=s.row | {key: name(s.row[key]) for key in names}))


def blend(data: Path, other: Path, where: str = "") -> tuple[WindowFolder, ...]:
    return (
        WindowFolder(path=str(data / "windows"), weight=1.0),
        WindowFolder(path=str(other), weight=3.0, where=where),
    )


class KilledError(Exception):
    pass


def test_a_killed_training_on_two_folders_ends_with_the_same_bytes(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other = folders
    params = dataclasses.replace(TINY, data=blend(data, other, "start_unit < 8"))
    weights = data / "models/duplex/model.safetensors"
    metrics = duplex.run(data, params, RunParams(workers=1))
    whole = weights.read_bytes()
    lines = capsys.readouterr().err
    assert f"duplex: {data / 'windows'}: 8 of 8 train windows, 25.0% of the samples, each less than once" in lines
    assert f"{other}: 4 of 8 train windows where start_unit < 8, 75.0% of the samples, each about 3.4 times" in lines
    record = json.loads((data / "models/duplex/trained_on.json").read_text())["folders"]
    assert record == metrics["data"] and [(part["windows"], part["people"]) for part in record] == [(8, 2), (4, 2)]

    weights.unlink()

    @contextmanager
    def killing(*arguments: object) -> Iterator[Callable[[int, Scalars], None]]:
        def advance(step: int, parts: Scalars) -> None:
            if step == 4:
                raise KilledError

        yield advance

    with monkeypatch.context() as patch:
        patch.setattr(training, "show_progress", killing)
        with pytest.raises(KilledError):
            duplex.run(data, params, RunParams(workers=1))
    assert not weights.exists()
    moved = other.parent.rename(other.parent.with_name("moved")) / "windows"
    reverse = dataclasses.replace(params, data=tuple(reversed(blend(data, moved, "start_unit < 8"))))
    duplex.run(data, reverse, RunParams(workers=1))
    assert weights.read_bytes() == whole


def test_one_folder_that_is_the_data_folder_is_the_default(folders: tuple[Path, Path]) -> None:
    data, _ = folders
    weights = data / "models/duplex/model.safetensors"
    duplex.run(data, TINY, RunParams(workers=1))
    default = weights.read_bytes()
    own = (WindowFolder(path=str(data / "windows")),)
    duplex.run(data, dataclasses.replace(TINY, data=own), RunParams(workers=1))
    assert weights.read_bytes() == default


def test_the_sets_are_those_of_the_folders(folders: tuple[Path, Path]) -> None:
    data, other = folders
    opened = open_training("duplex", data / "windows", blend(data, other, "agent = 'a'"), 100)
    assert isinstance(opened.train, Blend) and sorted(map(len, opened.sets)) == [4, 8]
    assert [(len(windows), share) for windows, share in opened.valid] == [(6, 0.25), (3, 0.75)]
    assert [folder["times_each"] for folder in opened.folders] == [pytest.approx(25 / 8, abs=0.01), 75 / 4]


def test_a_person_held_out_in_another_folder_is_named(folders: tuple[Path, Path]) -> None:
    data, other = folders
    own = open_training("x", data / "windows", (), 1)
    train, valid = ({row["agent_speaker_id"] for row in w.rows} for w in (own.sets[0], own.valid[0][0]))
    swapped = {f"call-{held_out}": trained for held_out, trained in zip(sorted(valid), sorted(train), strict=True)}
    rename_people(other, lambda name: swapped.get(name, name))
    with pytest.raises(InputError) as caught:
        open_training("duplex", data / "windows", blend(data, other), 100)
    line = str(caught.value)
    assert (
        line.startswith(f"duplex.data: {', '.join(sorted(train))}: in train of {data / 'windows'}") and "\n" not in line
    )
    assert f"is in valid of {other}" in line
    where = line.partition("where: ")[2]
    with pytest.raises(InputError, match="matches none"):  # what the line proposes leaves out exactly these two
        open_training("duplex", data / "windows", (WindowFolder(path=str(data / "windows"), where=where),), 100)


def test_the_data_folders_own_held_out_people_count_too(folders: tuple[Path, Path]) -> None:
    """`evaluate` tests on the data folder: a training on other folders alone must not have seen its people."""
    data, other = folders
    held_out = {row["agent_speaker_id"] for row in open_training("x", data / "windows", (), 1).valid[0][0].rows}
    rename_people(other, lambda name: sorted(held_out)[0] if "s0" in name else name)
    with pytest.raises(InputError, match="in train of .*calls/windows, but .* is in valid of .*data/windows"):
        open_training("duplex", data / "windows", (WindowFolder(path=str(other)),), 100)


def test_another_tokenizer_beside_the_weights_is_refused(folders: tuple[Path, Path]) -> None:
    data, other = folders
    (data / "models/tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="was packed with the tokenizer"):
        duplex.run(data, dataclasses.replace(TINY, data=blend(data, other)), RunParams(workers=1))


def test_folders_are_read_from_a_file_and_from_an_override(tmp_path: Path) -> None:
    entries = [{"path": "a/windows", "weight": 3}, {"path": "2024", "where": "agent = 'a'"}]
    expected = (WindowFolder(path="a/windows", weight=3.0), WindowFolder(path="2024", where="agent = 'a'"))
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({"duplex": {"data": entries}}))
    inline = "duplex.data=[{path: a/windows, weight: 3}, {path: 2024, where: \"agent = 'a'\"}]"
    for sections in (read_sections(file), read_sections(None, [inline])):
        assert build_params(DuplexParams, sections["duplex"], "duplex").data == expected


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("[{path: a, wieght: 2}]", "unknown key; did you mean `weight`?"),
        ("[{path: a, weight: 0}]", "duplex.data[0].weight: 0.0; expected more than 0; the default is 1.0"),
        ("[{path: a}, {weight: 2}]", "duplex.data[1].path: ''; expected a folder of windows, such as data/windows"),
        ("[a/windows]", "expected a list, each `key: value` lines with the keys path, weight, where"),
        ("[{path: a, where: 3 >}]", None),
    ],
)
def test_a_wrong_entry_is_one_line_with_its_place(override: str, line: str | None) -> None:
    setting = f"duplex.data={override}"
    sections = read_sections(None, [setting])
    if line is None:
        assert build_params(DuplexParams, sections["duplex"], "duplex").data[0].where == "3 >"
        return
    with pytest.raises(InputError) as caught:
        build_params(DuplexParams, sections["duplex"], "duplex", overrides=[setting])
    assert str(caught.value).startswith(f"--set {setting}") and line in str(caught.value)


def test_a_folder_that_is_missing_and_a_wrong_condition_are_found_before_any_stage(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, other = folders
    monkeypatch.chdir(data.parent)
    DuplexParams(data=(WindowFolder(path="data/windows"), WindowFolder(path="calls/windows"))).check()
    shutil.rmtree(data / "windows")  # pack will write it
    DuplexParams(data=(WindowFolder(path="data/windows"),)).check()
    with pytest.raises(InputError, match="the windows are in calls/windows: name that folder"):
        DuplexParams(data=(WindowFolder(path="calls"),)).check()
    with pytest.raises(InputError, match=r"^data\[0\]\.where: 'strat > 3' names strat"):
        DuplexParams(data=(WindowFolder(path=str(other), where="strat > 3"),)).check()
