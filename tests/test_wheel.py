"""The wheel by itself: built, put into an environment that holds nothing else, and used away from the checkout."""

import email
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.formats.tokenizer import fit_tokenizer
from tests.helpers.live_fixtures import small_agent
from tests.helpers.packed_windows import pack_windows
from tests.helpers.paths import ROOT
from wanstreamer.model.duplex import save_model
from wanstreamer.vae import save

RULES = """
import json
from pathlib import Path
from wanstreamer.turns import TurnParams, annotate_session
from wanstreamer.turns.ctm import read_ctm

for session_id, session in read_ctm(Path("calls.ctm")).items():
    annotation = annotate_session(session.speech, session.words, TurnParams(), sounds=session.sounds)
    transitions = [event for event in annotation.events if event.kind == "transition"]
    print(json.dumps([session_id, [[event.participant, event.label, event.fto_ms] for event in transitions]]))
"""
LOADER = """
import json
from wanstreamer.windows.loader import Loader, open_windows

loader = Loader(open_windows("data/windows", "train"), batch_size=14, seed=0)
batch = next(iter(loader))
print(json.dumps([list(batch.user_audio_BKNC.shape), sorted(set(name[:2] for name in batch.window_id))]))
"""
AGENT = """
import json
from pathlib import Path
import numpy as np
from wanstreamer.streaming.agent import load_agent

agent = load_agent(Path("data"))
state = agent.start(seed=0)
for _ in range(3):
    frames = np.zeros(agent.frame_shape, np.uint8)
    samples = np.zeros(agent.num_samples, np.float32)
    unit, state = agent.step(state, frames, samples)
print(json.dumps([list(unit.frames.shape), list(unit.samples.shape), state.unit, isinstance(unit.text, str)]))
"""
ALL_MODULES = """
import importlib, json, pkgutil, sys
import wanstreamer

names = [module.name for module in pkgutil.walk_packages(wanstreamer.__path__, "wanstreamer.")]
for name in names:
    importlib.import_module(name)
print(json.dumps([len(names), wanstreamer.__file__]))
"""


def call(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a new environment with the wheel and what it asks for. Torch comes first, of the build that is used here."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins)
    install(python, str(wheel))
    return python


def install(python: Path, what: str) -> None:
    cpu = [] if torch.version.cuda else ["--override", ROOT / "cpu-overrides.txt"]
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python)
    call(*uv, "-c", ROOT / "constraints.txt", *cpu, what)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the checkout: a CTM, windows, and an agent of random weights."""
    home = tmp_path_factory.mktemp("elsewhere")
    (home / "calls.ctm").write_text(
        "mon a 0.0 0.5 so,\nmon a 0.5 0.4 red?\nmon b 1.1 0.4 yes. 0.8\nmon b 1.5 0.4 it\nmon b 1.9 0.5 is.\n"
    )
    pack_windows(home)
    models = home / "data" / "models"
    words = [f"word{number % 7}" for number in range(50)]
    (models / "tokenizer.json").write_text(fit_tokenizer(words, 512).to_str())
    agent = small_agent({"vocab_size": 512})
    (models / "duplex").mkdir()
    (models / "vae").mkdir()
    save_model(agent.model, models / "duplex" / "model.safetensors")
    save(agent.audio_vae, models / "vae" / "audio.safetensors")
    save(agent.video_vae, models / "vae" / "video.safetensors")
    return home


def answer(python: Path, home: Path, script: str) -> Any:
    return json.loads(call(python, "-I", "-c", script, cwd=home))


def test_what_the_wheel_says_of_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        [info] = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_string(content.read(info).decode())
    assert {name.split("/")[0] for name in names} == {"wanstreamer", info.split("/")[0]}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert [line.partition(">")[0] for line in required] == ["numpy", "pyarrow", "safetensors", "torch"]
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Requires-Python"] == "<3.14,>=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()


@pytest.mark.long
def test_the_library_works_where_nothing_else_is(python: Path, home: Path, wheel: Path) -> None:
    count, place = answer(python, home, ALL_MODULES)
    assert count > 40 and not Path(place).is_relative_to(ROOT)
    assert answer(python, home, RULES) == ["mon", [["a", "initiation", None], ["b", "smooth_shift", 200]]]
    assert answer(python, home, LOADER) == [[14, 8, 4, 3], ["s0", "s1"]]
    refused = subprocess.run([python, "-I", "-c", AGENT], cwd=home, capture_output=True, text=True, check=False)
    assert "InputError: tokenizers is not installed" in refused.stderr and "wanstreamer[text]" in refused.stderr
    install(python, f"wanstreamer[text] @ {wheel.as_uri()}")
    assert answer(python, home, AGENT) == [[4, 48, 64, 3], [2560], 3, True]
