"""One data folder for all tests of lineage: they only read it."""

from pathlib import Path

import pytest

from tests.helpers.numbered_recordings import numbered_folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_folder(tmp_path_factory.mktemp("lineage"))
