"""What counts: F1 of activity, and the unigram beside which words are judged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluate.scoring import f1_sums, fit_unigram
from pipelines.formats.tokenizer import BLANK_ID, MISSING_ID


@given(st.integers(0, 2**31))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(seed):
    said, meant, counted = np.random.default_rng(seed).random((3, 2, 30)) < 0.5
    over, under = (part.sum() for part in f1_sums(said, meant, counted))
    hits = (said & meant & counted).sum()
    if hits:
        precision, recall = hits / (said & counted).sum(), hits / (meant & counted).sum()
        assert over / under == pytest.approx(2 * precision * recall / (precision + recall))
    else:
        assert over == 0


def test_unigram_knows_shares_and_how_far_to_trust_a_copy():
    text = np.array([[3, BLANK_ID], [3, BLANK_ID], [4, BLANK_ID], [MISSING_ID, MISSING_ID]])
    known = np.array([True, True, True, False])
    unigram = fit_unigram([{"agent_text": text, "agent_text_known": known}], 6)
    # Counts with one more each: BLANK 4, id 3: 3, id 4: 2, id 5: 1; the special ids are never said.
    np.testing.assert_allclose(unigram.share_V, np.array([4, 0, 0, 3, 2, 1]) / 10)
    np.testing.assert_allclose(unigram.blank_free(), np.array([0, 0, 0, 3, 2, 1]) / 6)
    # Of two spoken ids after a known unit, one repeats: some trust, not all.
    assert 0 < unigram.copy_share < 0.9
    total = sum(unigram.copy_probability(np.array([target]), np.array([3]))[0] for target in range(6))
    assert total == pytest.approx(1)
