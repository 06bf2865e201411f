"""Bad values of the parameters of faces are refused by name."""

import pytest

from pipelines.people.faces_params import FacesParams
from wanstreamer.errors import InputError


@pytest.mark.parametrize(
    "bad",
    [{"picture_side": 641}, {"looks_per_s": 0.0}, {"faces_per_s": 30.0}, {"still_change": 2.0}, {"cut_change": 0.0}],
)
def test_bad_values_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(bad))}: .*expected"):
        FacesParams(**bad)  # type: ignore[arg-type]
