"""How loud one voice is in the other track."""

import numpy as np
import pytest

from pipelines.signals.bleed import bleed_db
from tests.helpers.clips import RATE_HZ


@pytest.mark.parametrize("level_db", [-15.0, -20.0, -30.0])
def test_bleed_is_measured(level_db: float) -> None:
    rng = np.random.default_rng(1)
    steps = np.repeat(rng.random(60) > 0.5, RATE_HZ // 2)
    voice = rng.normal(0, 0.1, len(steps)) * steps
    own = rng.normal(0, 0.1, len(steps)) * ~steps
    heard = own + np.roll(voice, 40) * 10 ** (level_db / 20)
    found = bleed_db(voice.astype(np.float32), heard.astype(np.float32), RATE_HZ)
    assert found is not None and abs(found - level_db) < 1.5
    assert bleed_db(voice.astype(np.float32), own.astype(np.float32), RATE_HZ) is None
