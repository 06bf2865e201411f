"""`python -m tools.models`: what it lists, checks and says; the table agrees with the parameters."""

import functools
import hashlib
import json
import re
from pathlib import Path

import pytest

from pipelines.engine.models import BY_NAME, MODELS, USES, Hub, Installed, Model, Web, Wheels
from pipelines.engine.params import build_params
from pipelines.params import section_classes
from tools.models import __main__ as command
from tools.models.state import RECORD, write_record

TINY = Model(
    name="whisper-tiny", settings=("annotate.whisperx_model",), purpose="tests", licence="MIT", megabytes=0.1,
    source=Hub(repository="lab/tiny"),
)  # fmt: skip


def test_every_setting_is_a_parameter_and_every_model_has_its_own_name() -> None:
    classes = section_classes()
    for setting in USES:
        section, *names = setting.split(".")
        assert functools.reduce(getattr, names, build_params(classes[section], {}, section)) == ""
    assert len(BY_NAME) == len(MODELS)
    for model in MODELS:
        assert re.fullmatch(r"[a-z0-9.-]+", model.name) and model.licence and model.purpose and model.megabytes > 0
        for setting in model.settings:
            assert setting in USES or setting.startswith("tools."), setting
        for file in model.files:
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        if isinstance(model.source, Web):
            assert set(model.source.paths) == {file.name for file in model.files}
            assert all(file.sha256 for file in model.files)
        if isinstance(model.source, Wheels):
            assert set(model.source.members) == {file.name for file in model.files}
    for use in USES.values():
        model, files = BY_NAME[use.model], {file.name for file in BY_NAME[use.model].files}
        assert not files or files >= {f"{use.part}/{name}".lstrip("/") for name in use.files}
        assert not isinstance(model.source, Installed)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    command.main(list(arguments))
    return capsys.readouterr().out


def test_all_models_are_listed_with_what_they_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(listed(capsys, "--models", str(tmp_path), "--json"))
    states = {model["name"]: model["state"] for model in content["models"]}
    assert list(states) == list(BY_NAME) and states["pyannote"] == "missing" and states["silero"] == "there"
    assert all(model["licence"] for model in content["models"])
    table = listed(capsys, "--models", str(tmp_path))
    assert "whisper-lar" in table and "fetch NAME" in table


def test_one_model_is_shown_with_its_files_and_where_they_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = listed(capsys, "list", "lr-asd", "--models", str(tmp_path))
    assert f"to {tmp_path}/lr-asd" in shown and "MIT" in shown and "named by people.asd_model" in shown
    assert "finetuning_TalkSet.model  3426337 bytes  sha256 6b4ef536" in shown and shown.strip().endswith("missing")


def put(folder: Path, content: bytes = b"weights") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (folder / name).write_bytes(content)


def test_check_reads_every_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MODELS", (TINY,))
    monkeypatch.setitem(BY_NAME, TINY.name, TINY)
    folder = tmp_path / TINY.name

    def state(*arguments: str) -> tuple[str, str]:
        (model,) = json.loads(listed(capsys, *arguments, "--models", str(tmp_path), "--json"))["models"]
        return model["state"], model["detail"]

    assert state("check") == ("missing", "")
    put(folder)
    assert state("check")[0] == "there" and state("check")[1].startswith("no sha256 is known of model.bin")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    write_record(TINY, folder, dict.fromkeys(("model.bin", "config.json", "tokenizer.json"), (7, sha256)))
    assert state("check") == ("whole", "")
    (folder / RECORD).rename(tmp_path / "kept")
    assert state("check")[0] == "there"
    (tmp_path / "kept").rename(folder / RECORD)

    (folder / "model.bin").write_bytes(b"WEIGHTS")
    assert state("list")[0] == "there"
    with pytest.raises(SystemExit) as stopped:
        command.main(["check", "--models", str(tmp_path)])
    assert stopped.value.code == 2
    assert "whisper-tiny is damaged, model.bin has sha256" in capsys.readouterr().err
    (folder / "config.json").unlink()
    with pytest.raises(SystemExit):
        command.main(["check", TINY.name, "--models", str(tmp_path)])
    assert "whisper-tiny is incomplete, no config.json" in capsys.readouterr().err


def test_the_folders_that_the_parameters_name_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "mine")
    params = tmp_path / "params.yaml"
    params.write_text(f"annotate: {{whisperx_model: {tmp_path}/mine, align_model: {tmp_path}/none}}\n")
    settings = json.loads(listed(capsys, "--models", str(tmp_path), "--params", str(params), "--json"))["settings"]
    assert settings == {
        "annotate.whisperx_model": {"value": f"{tmp_path}/mine", "state": "there", "detail": ""},
        "annotate.align_model": {"value": f"{tmp_path}/none", "state": "missing", "detail": ""},
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetch"], "fetch: no model named"),
        (["fetch", "whisper-huge"], "whisper-huge: no such model; there are whisper-large-v3, "),
        (["fetch", "pyannote"], "pyannote: CC-BY-4.0, and its publisher asks you to accept conditions"),
        (["fetch", "silero"], "silero: inside the package silero-vad; `make setup` installs it"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main([*arguments, "--models", str(tmp_path)])
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and printed.startswith(f"error: {said}") and printed.count("\n") == 1
