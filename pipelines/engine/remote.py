"""Folders named by a URI, `s3://bucket/recordings`, through fsspec; each failure is reported in one line.

Credentials and endpoint come from the usual places of fsspec and of the store's library: AWS_* variables
(AWS_ENDPOINT_URL for a store that is not Amazon's), `~/.aws`, `~/.config/fsspec`.
"""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import fsspec
from fsspec.config import conf

from wanstreamer.errors import InputError

SETTINGS = ("AWS_", "AZURE_", "FSSPEC_", "GOOGLE_")  # environment variables with addresses and credentials of stores
CHECKSUMS = ("ETag", "etag", "md5Hash")  # keys that the fsspec classes of S3, Azure and Google use
S3 = "uv pip install -e '.[s3]' -c constraints.txt"
EXTRAS = {"s3": S3, "s3a": S3}
LIBRARIES = ("aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google")  # their exceptions are not OSErrors
PASSING = frozenset({errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO), errno.ECONNRESET})
MISTAKES = frozenset({errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EMSGSIZE, getattr(errno, "EREMCHG", errno.EINVAL)})
PARALLEL_REQUESTS = 16


class Unreachable(OSError):
    """The store failed, maybe for a short time only; its library has tried again a few times."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.ETIMEDOUT, reason)


def is_remote_uri(place: str | Path) -> bool:
    """Whether a name has the protocol of a store (`s3://...`). `file`, `local` and an opened local folder have not."""
    if isinstance(place, Path):
        return False
    return re.match(r"(?!file:|local:)[a-z][a-z0-9+.-]*://", str(place)) is not None


def folder_at(name: str) -> Path:
    """A local folder as a `Path`, a remote one as a `UPath` with the same methods.

    Raises InputError for an unknown protocol, or if its package is not installed.
    """
    if not is_remote_uri(name):
        return Path(re.sub(r"^(file|local)://", "", name))
    from upath import UPath

    with explained(name):
        place = UPath(name.rstrip("/"))
        place.fs.invalidate_cache()  # listings from an earlier run of this process
    return cast(Path, place)


def settings() -> dict[str, dict[str, Any]]:
    """The settings for stores of this process, for workers that started earlier or on another machine."""
    return {
        "variables": {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)},
        "fsspec": dict(conf),
    }


def use_settings(wanted: dict[str, dict[str, Any]]) -> None:
    """Use the settings for stores of the process that called `settings`."""
    if wanted == settings():
        return
    os.environ.update(wanted["variables"])
    conf.update(wanted["fsspec"])
    for protocol in fsspec.available_protocols():
        known = fsspec.registry.get(protocol)
        if known is not None:
            known.clear_instance_cache()


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn a store's errors into those that the rest of the code handles.

    Raises InputError if only the user can fix it, Unreachable if trying again may help. FileNotFoundError and errors of
    the local disk are passed on unchanged.
    """
    try:
        yield
    except (InputError, Unreachable, FileNotFoundError):
        raise
    except ImportError as error:
        protocol = uri.partition("://")[0]
        remedy = EXTRAS.get(protocol, f"install the fsspec package for {protocol}://")
        raise InputError(f"{uri}: {_line(error)}; {remedy}") from error
    except PermissionError as error:
        raise InputError(
            f"{uri}: access denied ({_line(error)}); check the credentials and their permissions"
        ) from error
    except TimeoutError as error:
        raise Unreachable(f"{uri}: no answer in time") from error
    except OSError as error:
        if error.errno in PASSING:
            raise Unreachable(f"{uri}: {_line(error)}") from error
        if error.errno in MISTAKES:
            raise InputError(f"{uri}: refused ({_line(error)}); check the address") from error
        raise
    except ValueError as error:
        if not re.match("Protocol not known|Unsupported filesystem", str(error)):
            raise
        raise InputError(f"{uri}: {_line(error)}; expected s3:// or another protocol of fsspec") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in LIBRARIES:
            raise
        name = type(error).__name__
        if re.search("Connect|Timeout|HTTPClient|Payload|Disconnected|OSError", name):
            raise Unreachable(f"{uri}: {_line(error)}") from error
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        if "Credentials" not in name:
            remedy = "check the address and the configuration"
        raise InputError(f"{uri}: {_line(error)}; {remedy}") from error


@contextmanager
def reachable(uri: str | Path) -> Iterator[None]:
    """As `explained`, but a store that does not answer raises InputError too. For a local folder it does nothing."""
    try:
        if is_remote_uri(uri):
            with explained(str(uri)):
                yield
        else:
            yield
    except Unreachable as error:
        raise InputError(
            f"{error.strerror}; check the network and AWS_ENDPOINT_URL, then run the same command again"
        ) from error


def _line(error: BaseException) -> str:
    message = str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"\s+", " ", message).strip() or type(error).__name__


def stamp(root: Path, name: str) -> str:
    """The store's checksum and the size in bytes of a remote file. It changes with the content, and reads none of it.

    Raises FileNotFoundError, also for a folder.
    """
    place: Any = root
    address = _address(root, name)
    with explained(f"{root}/{name}"):
        description = place.fs.info(address)
        if description["type"] != "file":
            raise FileNotFoundError(address)
        checksum = next((description[key] for key in CHECKSUMS if description.get(key)), None) or place.fs.ukey(address)
        return f"{checksum} {description['size']}"


def stamps(root: Path, names: Iterable[str]) -> dict[str, str | None]:
    """Stamps of many files of a remote folder; None for a missing file. Raises InputError as `reachable`."""

    def look(name: str) -> str | None:
        try:
            return stamp(root, name)
        except FileNotFoundError:
            return None

    wanted = sorted(set(names))
    with reachable(root), ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return dict(zip(wanted, pool.map(look, wanted), strict=True))


def fetch(root: Path, names: Sequence[str], folder: Path) -> dict[str, str]:
    """Copy files of a remote folder into a local one, under the same names; returns their stamps after copying.

    Raises FileNotFoundError, Unreachable, and InputError as `explained`.
    """
    place: Any = root
    stamps = {}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            with explained(f"{root}/{name}"):
                place.fs.get_file(_address(root, name), str(folder / name))
        except FileNotFoundError as error:
            raise FileNotFoundError(name) from error
        place.fs.invalidate_cache()
        stamps[name] = stamp(root, name)
        if stamps[name].rpartition(" ")[2] != str((folder / name).stat().st_size):
            raise Unreachable(f"{root}/{name}: the copy is incomplete")
    return stamps


def _address(root: Path, name: str) -> str:
    """Joined as text, so that a name is always below the root, with any characters in it."""
    place: Any = root
    return f"{place.path.rstrip('/')}/{Path(name)}"
