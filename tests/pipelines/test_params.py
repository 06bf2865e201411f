"""A user's mistake gets one clear line that names the place and the remedy, exit code 2, and nothing half-written."""

import dataclasses
import importlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from pipelines.engine.params import SECTIONS, build_params, read_sections
from pipelines.params import section_classes
from pipelines.vae.stage import VaeParams
from tests.helpers.paths import ROOT
from wanstreamer.bounds import check_bounds
from wanstreamer.errors import InputError

Command = Callable[..., tuple[int, str]]


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 4

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Outer:
    width: int = 64
    share: float = 0.5
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        check_bounds(self)


def test_overrides_reach_nested_values(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("vae: {width: 32}\n")
    sections = read_sections(path, ["vae.inner.depth=8", "vae.share=0.25"])
    assert build_params(Outer, sections["vae"], "vae") == Outer(width=32, share=0.25, inner=Inner(depth=8))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"widht": 3}, "widht: unknown key; did you mean `width`"),
        ({"inner": {"dpeth": 3}}, "inner.dpeth: unknown key; did you mean `depth`"),
        ({"width": "wide"}, "width: 'wide'; expected an integer"),
    ],
)
def test_wrong_values_name_their_key(values: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        build_params(Outer, values, "params.yaml: vae")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "values", "place"),
    [
        ([], {"inner": {"dpeth": 3}}, "params.yaml: vae.inner.dpeth: "),
        (["vae.inner.depth=2", "vae.inner.dpeth=3"], {"inner": {"dpeth": 3}}, "--set vae.inner.dpeth=3: "),
        (["vae.inner={dpeth: 3}"], {"inner": {"dpeth": 3}}, "--set vae.inner={dpeth: 3}: "),
        (["vae.inner.depth=deep"], {"inner": {"depth": "deep"}}, "--set vae.inner.depth=deep: "),
        (["vae.width=x", "vae.width=y"], {"width": "y"}, "--set vae.width=y: "),
        (["vae.wid=x", "vae.share=0.1"], {"width": "y", "share": 0.1}, "params.yaml: vae.width: "),
    ],
)
def test_a_wrong_value_names_who_gave_it(overrides: list[str], values: dict, place: str) -> None:
    with pytest.raises(InputError) as caught:
        build_params(Outer, values, "vae", path=Path("params.yaml"), overrides=overrides)
    assert str(caught.value).startswith(place)


def test_overrides_do_without_a_file() -> None:
    assert read_sections(None, ["vae.width=32"]) == {"vae": {"width": 32}}


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
        ("annotate.language=german", "annotate.language german: no known language tag"),
        ("vae.weights=nowhere", "vae.weights nowhere: no such file or folder"),
        ("ingest.source=tests/nowhere", "tests/nowhere: no such folder or manifest"),
        ("ingest.source=docs", "docs: no recordings found"),
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
            importlib.import_module(module).main()
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
        (["--set", "ingest.width.x=1"], "error: --set ingest.width.x=1: `width` is 64 and has no keys of its own"),
        (["--set", "ingest.width=65"], "error: ingest.width x height 65 x 48: expected multiples of 16"),
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
    code, errors = command("pipelines.ingest", "--data", str(tmp_path / "data"), *filled)
    assert code == 2
    assert said in errors and errors.count("\n") == 1 and errors.startswith("error: ")
    assert not (tmp_path / "data").exists()


def test_a_nested_value_leaves_the_defaults_beside_it() -> None:
    params = build_params(VaeParams, {"video": {"channels": 48}, "audio": {"steps": 7}}, "vae")
    assert params.video == dataclasses.replace(VaeParams().video, channels=48)
    assert params.audio == dataclasses.replace(VaeParams().audio, steps=7)
