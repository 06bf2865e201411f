"""Tars of arrays filled in pieces: they are what tarfile and numpy write, and every part can be read by itself."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from pipelines.formats.npy_tar import find_member, npy_tar

ARRAYS = {
    "b.npy": np.arange(2 * 3 * 4, dtype=np.float16).reshape(2, 3, 4),
    "a.npy": np.linspace(-1, 1, 700, dtype=np.float16)[:, None],
    "c.npy": np.zeros((0, 5), np.float16),
}


def write(path: Path, piece: int) -> None:
    with npy_tar(path, {name: array.shape for name, array in ARRAYS.items()}, "float16") as tar:
        for start in range(0, 700, piece):  # the members in turns
            for name, array in ARRAYS.items():
                if start < len(array):
                    tar.write(name, start, array[start : start + piece])


def test_it_is_what_tarfile_and_numpy_write(tmp_path: Path) -> None:
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(ARRAYS):
            content = io.BytesIO()
            np.save(content, ARRAYS[name], allow_pickle=False)
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content.getvalue()), 0o644
            tar.addfile(info, io.BytesIO(content.getvalue()))
    for piece in (1, 64, 1000):
        write(tmp_path / "x.tar", piece)
        assert (tmp_path / "x.tar").read_bytes() == expected.getvalue()


def test_any_part_is_read_by_itself(tmp_path: Path) -> None:
    write(tmp_path / "x.tar", 100)
    for name, array in ARRAYS.items():
        place = find_member(tmp_path / "x.tar", name)
        assert np.array_equal(place.mapped(), array) and place.shape == array.shape
    assert np.array_equal(find_member(tmp_path / "x.tar", "a.npy").mapped()[300:307], ARRAYS["a.npy"][300:307])
    place = find_member(tmp_path / "x.tar", "a.npy")
    with (tmp_path / "x.tar").open("r+b") as file:
        file.truncate(1500)
    with pytest.raises(ValueError, match="ends before row 700"):
        place.mapped()


def test_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with npy_tar(tmp_path / "x.tar", {"a.npy": (4, 2)}, "float16") as tar:
        for start, rows in ((3, np.zeros((2, 2), np.float16)), (0, np.zeros((1, 3), np.float16))):
            with pytest.raises(ValueError, match=r"a\.npy \(4, 2\): rows of shape"):
                tar.write("a.npy", start, rows)


def test_arrays_that_would_run_code_are_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.array([{}], dtype=object), allow_pickle=True)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("a.npy")
        info.size = len(content.getvalue())
        tar.addfile(info, io.BytesIO(content.getvalue()))
    with pytest.raises(ValueError, match="not an array of numbers"):
        find_member(tmp_path / "x.tar", "a.npy")
