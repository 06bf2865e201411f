"""What a result depends on is computed from imports: dvc.yaml agrees, and a change redoes what uses it and no more."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipelines.annotate import stage as annotate
from pipelines.annotate.stage import AnnotateParams
from pipelines.encode import stage as encode
from pipelines.encode.stage import EncodeParams
from pipelines.engine import parts
from pipelines.engine.code import PACKAGES, code_files, code_hash, code_of, stage_module, with_code
from pipelines.engine.run import RunParams
from pipelines.ingest import stage as ingest
from pipelines.ingest.stage import IngestParams
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from pipelines.quality import stage as quality
from pipelines.quality.stage import QualityParams
from pipelines.train.stage import CODE as TRAINING
from pipelines.vae.stage import CODE as VAE
from tests.helpers.clips import make_clip
from tests.helpers.paths import ROOT
from tests.helpers.small_corpus import keep_in_process
from wanstreamer import vae
from wanstreamer.errors import InputError
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig

PER_SESSION = ("ingest", "quality", "annotate", "encode", "pack")
STAGES = (*PER_SESSION, "vae", "duplex")
# A constant of each file, and the stages that compute with it.
EVERYTHING = QualityParams(
    max_clipped_share=1.0, max_silent_share=1.0, max_black_share=1.0, max_frozen_share=1.0, min_loudness_lufs=-99.0,
    min_face_share=0.0, max_same_picture_share=1.0, find_duplicates=False,
)  # fmt: skip
USED_BY = {
    "wanstreamer/clock.py": ("UNIT_MS", {*STAGES}),
    "schemas/windows.py": ("WINDOW_FORMAT", {"pack"}),
    "pipelines/media/tracks.py": ("GATE_LUFS", {"ingest", "quality", "annotate", "encode", "vae"}),
    "pipelines/media/process.py": ("_PR_SET_PDEATHSIG", {"ingest", "quality", "annotate", "encode", "vae"}),
    "pipelines/media/ffmpeg.py": ("GAP_S", {"ingest"}),
    "pipelines/media/probing.py": ("GUESSED_BYTES", {"ingest"}),
    "pipelines/media/timelines.py": ("HELD_MS", {"ingest"}),
    "pipelines/media/languages.py": ("_CODES", {"ingest", "annotate"}),
    "pipelines/media/captions.py": ("CAPTION_ROWS", set()),
    "pipelines/media/svg.py": ("RED", set()),
    "wanstreamer/turns/lexical.py": ("FILLERS", {"annotate"}),
    "wanstreamer/windows/manifest.py": ("WINDOW_FORMAT", {"pack", "duplex"}),
    "wanstreamer/model/sequence.py": ("BLANK", {"duplex"}),
    "pipelines/engine/progress.py": ("", set()),
    "pipelines/engine/run.py": ("MERGE_PROCESSES", set()),
}
# In `make test`; the others in `make test-long`.
FEW = ("wanstreamer/clock.py", "schemas/windows.py", "pipelines/media/ffmpeg.py", "pipelines/engine/run.py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's code in a folder of its own, to be changed."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "code"


def test_dvc_yaml_lists_the_code_that_its_commands_import() -> None:
    """`python -m pipelines.engine.code --write` brings it up to date."""
    text = (ROOT / "dvc.yaml").read_text()
    assert with_code(text) == text
    assert with_code(text.replace("      - wanstreamer/clock.py\n", "")) == text
    assert "      - wanstreamer/clock.py\n" in text


def test_imports_are_followed_wherever_they_stand_but_not_into_the_engine(tmp_path: Path) -> None:
    files = {
        "pipelines/a.py": "from wanstreamer.b import x\nimport pipelines.engine.run\nimport numpy\n",
        "pipelines/engine/run.py": "import wanstreamer.hidden\n",
        "wanstreamer/__init__.py": "import wanstreamer.unused\n",
        "wanstreamer/b.py": "def late():\n    from wanstreamer import c\n",
        "wanstreamer/c/__init__.py": (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import wanstreamer.d\n"
            "else:\n    import wanstreamer.e\n"
        ),
        "wanstreamer/d.py": "",
        "wanstreamer/e.py": "",
        "wanstreamer/hidden.py": "",
        "wanstreamer/unused.py": "",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert code_of("pipelines.a", root=tmp_path) == ["pipelines.a", "wanstreamer.b", "wanstreamer.c", "wanstreamer.e"]
    assert code_files("pipelines.a", root=tmp_path) == [
        "pipelines/a.py",
        "wanstreamer/b.py",
        "wanstreamer/c/__init__.py",
        "wanstreamer/e.py",
    ]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("X = 1  # a\n", "# b\n\nX = (\n    1\n)\n", True),
        ('"""A."""\n\n\ndef f():\n    """B."""\n    return 1\n', "def f():\n    return 1\n", True),
        ("if TYPE_CHECKING:\n    import a\n", "if TYPE_CHECKING:\n    import b\n", True),
        ("X = 1\n", "X = 2\n", False),
        ("X = None\n", "X = 0\n", False),
        ("X = 'a'\n", 'X = "b"\n', False),
        ("def f():\n    return 1\n", "def f():\n    return 1.0\n", False),
    ],
)
def test_only_what_python_reads_counts(tmp_path: Path, before: str, after: str, same: bool) -> None:
    hashes = []
    for name, content in (("before", before), ("after", after)):
        (tmp_path / name / "wanstreamer").mkdir(parents=True)
        (tmp_path / name / "wanstreamer" / "a.py").write_text(content)
        hashes.append(code_hash("wanstreamer.a", root=tmp_path / name))
    assert (hashes[0] == hashes[1]) == same


def test_a_command_that_does_not_exist_is_an_error() -> None:
    assert stage_module("python -m pipelines.pack") == "pipelines.pack.__main__"
    assert stage_module("python -m pipelines.train.duplex") == "pipelines.train.duplex"
    with pytest.raises(InputError, match="pipelines.duplecks: no such command"):
        stage_module("python -m pipelines.duplecks")


class Line:
    """One session through the stages that work per session, with untrained VAEs; in this process."""

    def __init__(self, home: Path) -> None:
        self.data = home / "data"
        for name in ("a", "b"):
            (home / "source" / "s").mkdir(parents=True, exist_ok=True)
            make_clip(home / "source" / "s" / f"{name}.mp4", seconds=2.0)
        (self.data / "models" / "vae").mkdir(parents=True)
        vae.save(AudioVAE(AudioVAEConfig(channels=2)), self.data / "models/vae/audio.safetensors")
        video = VideoVAE(VideoVAEConfig(height=48, width=64, channels=2))
        vae.save(video, self.data / "models/vae/video.safetensors")
        source = IngestParams(source=str(home / "source"), valid_fraction=0.0, test_fraction=0.0)
        packing = PackParams(window_units=4, stride_units=4, vocab_size=300)
        self.runs: dict[str, Callable[[], object]] = {
            "ingest": partial(ingest.run, self.data, source, RunParams()),
            "quality": partial(quality.run, self.data, EVERYTHING, RunParams()),
            "annotate": partial(annotate.run, self.data, AnnotateParams(), RunParams()),
            "encode": partial(encode.run, self.data, EncodeParams(), RunParams()),
            "pack": partial(pack.run, self.data, packing, RunParams()),
        }

    def redone(self) -> set[str]:
        """The stages that do the session again."""
        stages = set()
        for name, run in self.runs.items():
            done: list[str] = []
            with pytest.MonkeyPatch.context() as patch:
                keep_in_process(patch, done)
                run()
            if done:
                stages.add(name)
        return stages


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    line = Line(tmp_path_factory.mktemp("line"))
    assert line.redone() == {*PER_SESSION}
    assert line.redone() == set()
    return line


def training_fingerprints(root: Path) -> dict[str, str]:
    return {"vae": code_hash(*VAE, root=root), "duplex": code_hash(*TRAINING, root=root)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", [file if file in FEW else pytest.param(file, marks=pytest.mark.long) for file in USED_BY]
)
def test_a_changed_constant_redoes_exactly_the_stages_that_use_it(
    file: str, copy: Path, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    constant, stages = USED_BY[file]
    text = (copy / file).read_text()
    assert constant in text
    before = training_fingerprints(copy)
    (copy / file).write_text(f"{text}\n# A changed comment redoes nothing.\n")
    monkeypatch.setattr(parts, "code_hash", partial(code_hash, root=copy))
    assert line.redone() == set()

    changed = copy.rename(copy.with_name("changed"))  # what was read of a file is remembered by its path
    (changed / file).write_text(f"{text}\n{constant or 'ANOTHER'} = 'another'\n")
    monkeypatch.setattr(parts, "code_hash", partial(code_hash, root=changed))
    redone = line.redone()
    after = training_fingerprints(changed)
    redone |= {name for name in before if before[name] != after[name]}
    assert redone == stages

    monkeypatch.setattr(parts, "code_hash", code_hash)
    assert line.redone() == stages & {*PER_SESSION}
