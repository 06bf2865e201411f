"""A user's mistake gets one clear line that names the place and the remedy, exit code 2, and nothing half-written."""

import dataclasses
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from pipelines.engine.params import SECTIONS, build_params, read_sections
from pipelines.params import section_classes
from tests.helpers.paths import ROOT
from wanstreamer.bounds import Bounds, field_types, limits, shown
from wanstreamer.errors import InputError

Command = Callable[..., tuple[int, str]]


def test_params_yaml_holds_what_the_stages_know() -> None:
    sections = read_sections(ROOT / "params.yaml")
    assert set(sections) == set(SECTIONS)
    for section, values in sections.items():
        build_params(section_classes()[section], values, section)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("annotate.words=whisperx", "annotate.whisperx_model"),
        ("annotate.speech=pyannote", "annotate.speech_model"),
        (
            "annotate.language=german",
            "--set annotate.language=german: expected a known language tag, such as en or pt-BR",
        ),
        ("vae.weights=nowhere", "vae.weights nowhere: no such file or folder"),
        ("ingest.source=tests/nowhere", "tests/nowhere: no such folder or manifest"),
        ("ingest.source=docs", "docs: no recordings found"),
        ("ingest.valid_fraction=0", "ingest.valid_fraction: 0.0; expected more than 0 for the sample"),
        ("ingest.test_fraction=0", "ingest.test_fraction: 0.0; expected more than 0 for the sample"),
    ],
)
def test_what_a_later_stage_lacks_is_said_before_the_first(command: Command, setting: str, said: str) -> None:
    code, errors = command("pipelines.params", "--set", setting, "--set", "pack.tokenizer=nowhere")
    assert code == 2 and said in errors and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("duplex.silence_weight=-1", "--set duplex.silence_weight=-1: expected 0 or more"),
        ("pretrain.dropout=2", "--set pretrain.dropout=2: expected a share between 0 and 1"),
    ],
)
def test_values_of_training_are_checked_before_the_stages_it_comes_after(
    command: Command, setting: str, said: str
) -> None:
    code, errors = command("pipelines.params", "--set", setting)
    assert code == 2 and said in errors and errors.count("\n") == 1


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """command(module, argument, ...): its exit code and what it said to stderr; in this process."""
    monkeypatch.chdir(ROOT)

    def call(module: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(SystemExit) as ended:
            entry = importlib.import_module(module)
            (entry if hasattr(entry, "main") else importlib.import_module(f"{module}.__main__")).main()
        return ended.value.code, capsys.readouterr().err  # type: ignore[return-value]

    return call


@pytest.mark.parametrize("module", ["pipelines.params", "pipelines.ingest"])
def test_the_command_itself(module: str) -> None:
    """In a process of its own, where imports could say something too."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--set", "ingest.widht=32"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --set ingest.widht=32: unknown key") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "ingest.source=no/such/folder"], "no/such/folder: no such folder"),
        (["--set", "ingest.source={empty}"], "no recordings found"),
        (["--set", "ingest.source={manifest}"], "unknown column `colour`"),
        (["--set", "ingest.widht=32"], "error: --set ingest.widht=32: unknown key; did you mean `width`"),
        (["--set", "ingest.width=wide"], "error: --set ingest.width=wide: expected an integer"),
        (["--set", "ingest.width.x=1"], "error: --set ingest.width.x=1: `width` is 64 and has no keys"),
        (
            ["--set", "ingest.width=65"],
            "error: --set ingest.width=65: expected a multiple of 16, 16 to 8192 (the video VAE's step)",
        ),
        (["--set", "ingset.width=32"], "unknown section; did you mean `ingest`"),
        (["--set", "width"], "expected section.key=value"),
        (["--params", "{params}"], "anotate: unknown section; did you mean `annotate`"),
        (["--params", "nowhere.yaml"], "nowhere.yaml: no such parameter file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, command: Command, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "manifest.csv").write_text("session_id,uri,colour\ns,a.mp4,red\n")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"anotate": {}}))
    places = {"empty": tmp_path / "empty", "manifest": tmp_path / "manifest.csv", "params": tmp_path / "params.yaml"}
    filled = [argument.format(**places) for argument in arguments]
    code, errors = command("pipelines.ingest.stage", "--data", str(tmp_path / "data"), *filled)
    assert code == 2
    assert said in errors and errors.count("\n") == 1 and errors.startswith("error: ")
    assert not (tmp_path / "data").exists()


def fields_of(section: str) -> Iterator[tuple[tuple[str, ...], Any, Bounds | None, Any]]:
    """(keys, annotation, bounds, the dataclass instance that has it) of all fields, those of nested ones too."""

    def walk(params: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Bounds | None, Any]]:
        for field in dataclasses.fields(params):
            keys = (*above, field.name)
            value = getattr(params, field.name)
            yield keys, field_types(type(params))[field.name], field.metadata.get("bounds"), params
            if dataclasses.is_dataclass(value):
                yield from walk(value, keys)

    return walk(section_classes()[section](), ())


def beyond(kind: Any, bounds: Bounds | None) -> list[Any]:
    """Values of every kind that a field must refuse: just beyond each bound, and of other types."""
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        single = [[value] for value in beyond(item, bounds) if not (item is float and isinstance(value, list))]
        return [*single, "text", 3, *([[]] if bounds and bounds.not_empty else [])]
    optional = type(None) in get_args(kind) and get_origin(kind) is not Literal
    if optional:
        kind = next(one for one in get_args(kind) if one is not type(None))
    bad: list[Any] = [[1]] if optional else [None, [1]]
    if dataclasses.is_dataclass(kind):
        return [*bad, 3]
    if get_origin(kind) is Literal:
        return [*bad, "none of them", 1]
    if kind is bool:
        return [*bad, 1, "maybe"]
    if kind is str:
        bad += [3, True]
    if kind in (int, float):
        bad += [True, "many", float("nan"), float("inf")]
    if kind is int:
        bad += [1.5, "3"]
    if bounds is None:
        return bad
    step = 1 if kind is int else 0.001
    if bounds.one_of is not None:
        bad.append(9 if kind is int else "none of them")
    for limit, value in (
        (bounds.at_least, lambda limit: limit - step),
        (bounds.above, lambda limit: limit),
        (bounds.at_most, lambda limit: limit + step),
        (bounds.below, lambda limit: limit),
    ):
        bad += [] if limit is None else [value(limit)]
    if bounds.multiple_of is not None:
        bad.append(bounds.multiple_of * 100 + 1)
    return bad


@pytest.mark.parametrize("section", SECTIONS)
def test_every_number_and_choice_has_bounds(section: str) -> None:
    for keys, kind, bounds, params in fields_of(section):
        free = kind in (bool, str) or dataclasses.is_dataclass(kind)
        assert free or limits(type(params))[keys[-1]], f"{section}.{'.'.join(keys)} may be anything"
        assert bounds is None or limits(type(params))[keys[-1]]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_value_beyond_each_bound_of_each_field_is_one_line(section: str) -> None:
    cls = section_classes()[section]
    for keys, kind, bounds, params in fields_of(section):
        for bad in beyond(kind, bounds):
            values: Any = bad
            for key in reversed(keys):
                values = {key: values}
            place = f"some.yaml: {section}.{'.'.join(keys)}: "
            with pytest.raises(InputError) as caught:
                build_params(cls, values, section, path=Path("some.yaml"))
            line = str(caught.value)
            assert line.startswith(place) and "; expected " in line and "\n" not in line
            typed = float(bad) if kind is float and type(bad) is int else bad
            assert line.startswith(f"{place}{shown(typed)}; ") or isinstance(bad, list)

            direct = tuple(bad) if isinstance(bad, list) and get_origin(kind) is tuple else bad
            with pytest.raises(InputError, match=f"^{keys[-1]}: .*; expected "):
                dataclasses.replace(params, **{keys[-1]: direct})


@pytest.mark.parametrize("stage", ["sample", "ingest"])
def test_fractions_that_leave_no_one_for_training_are_refused(stage: str) -> None:
    values = {"valid_fraction": 0.5, "test_fraction": 0.5}
    with pytest.raises(InputError, match=rf"^{stage}.test_fraction: 0.5; expected less than 1 with valid_fraction"):
        build_params(section_classes()[stage], values, stage)


def test_recordings_of_ones_own_may_all_be_for_training(tmp_path: Path) -> None:
    source = tmp_path / "recordings"
    source.mkdir()
    (source / "manifest.csv").write_text("session_id,participant,uri\ns,a,a.wav\n")
    (source / "a.wav").write_bytes(b"RIFF")
    values = {"valid_fraction": 0, "test_fraction": 0, "source": str(source)}
    build_params(section_classes()["ingest"], values, "ingest").check()


@pytest.mark.parametrize("section", SECTIONS)
def test_a_bad_value_in_any_section_ends_the_check_before_anything_runs(section: str, tmp_path: Path) -> None:
    keys, kind, bounds, _ = next(field for field in fields_of(section) if field[1] in (int, float))
    bad = next(value for value in reversed(beyond(kind, bounds)) if isinstance(value, (int, float)))
    whole = yaml.safe_load((ROOT / "params.yaml").read_text())
    inner = whole.setdefault(section, {})
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = bad
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(whole))
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.params"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: params.yaml: {section}.{'.'.join(keys)}: ")
    assert done.stderr.count("\n") == 1 and "expected" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_section_that_the_file_leaves_out_is_checked_too(tmp_path: Path, command: Command) -> None:
    (tmp_path / "params.yaml").write_text("run: {}\n")
    given = ["--params", str(tmp_path / "params.yaml"), "--set", "behaviour.seconds=2"]
    code, errors = command("pipelines.params", *given)
    assert code == 2 and errors.startswith(
        "error: --set behaviour.seconds=2: behaviour.given_units: 24; expected fewer"
    )


@pytest.mark.parametrize("section", SECTIONS)
def test_every_number_has_an_upper_and_a_lower_limit(section: str) -> None:
    for keys, kind, _, _ in fields_of(section):
        numbers = {int, float} & {kind, *get_args(kind)}
        if get_origin(kind) is Literal or not numbers:
            continue
        for number in (-(10**30), 10**30):
            values: Any = [number] if get_origin(kind) is tuple else number
            for key in reversed(keys):
                values = {key: values}
            with pytest.raises(InputError, match=rf"^{section}\.{'.'.join(keys)}: .*; expected "):
                build_params(section_classes()[section], values, section)


@pytest.mark.parametrize("name", ["take #1", "2024-11-03", "no", "[pilot]", "a: b", "*x", "1e3", "'q'", " s"])
def test_a_text_parameter_takes_its_text_as_it_stands(name: str, tmp_path: Path, command: Command) -> None:
    overrides = ["--set", f"ingest.source={tmp_path / name}", "--set", f"vae.weights={name}"]
    code, errors = command("pipelines.params", *overrides)
    assert code == 2 and errors.startswith(f"error: {tmp_path / name}: no such folder or manifest")
    (tmp_path / name).mkdir()
    (tmp_path / name / "manifest.csv").write_text("session_id,participant,uri\ns,a,a.wav\n")
    (tmp_path / name / "a.wav").write_bytes(b"RIFF")
    code, errors = command("pipelines.params", *overrides)
    assert code == 2 and errors.startswith(f"error: vae.weights {name}: no such file or folder")


def test_text_in_the_file_is_no_date_and_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("ingest: {source: 2024-11-03}\nannotate: {language: no}\nvae:\n  weights:\n")
    sections = read_sections(path)
    assert build_params(section_classes()["ingest"], sections["ingest"], "ingest").source == "2024-11-03"
    assert build_params(section_classes()["annotate"], sections["annotate"], "annotate").language == "no"
    assert build_params(section_classes()["vae"], sections["vae"], "vae").weights == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"vae: {seed: 1}\nvae: {seed: 2}\n", "line 2: not valid YAML: `vae` stands here twice; correct the file"),
        (b"# \xff\n", ": not valid YAML: invalid start byte; correct the file"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_line(tmp_path: Path, command: Command, content: bytes, said: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    code, errors = command("pipelines.params", "--params", str(tmp_path / "params.yaml"))
    assert code == 2 and errors.rstrip().endswith(said) and errors.count("\n") == 1


def test_the_number_of_workers_on_the_command_line_is_checked_too(command: Command) -> None:
    code, errors = command("pipelines.params", "--workers", "0")
    assert code == 2 and errors == "error: --workers 0: expected 1 or more\n"
    code, errors = command("pipelines.params", "--workers", "1000000")
    assert code == 2 and errors == "error: --workers 1000000: expected 0 to 10000; the default is 0\n"


def test_the_check_waits_for_no_large_library() -> None:
    """Torch alone takes seconds to import: longer than the check may take."""
    listed = (
        "import sys, pipelines.params; print([m for m in ('torch', 'numpy', 'pyarrow', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", listed], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
