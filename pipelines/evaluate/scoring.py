"""What the evaluation counts and compares with: F1 of a decision, and the baselines of the text stream.

A baseline knows the shares of text ids on train windows, and how often the previous unit's id comes again. The sums
over sessions, their ratios and their intervals are in wanstreamer/bootstrap.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.formats.tokenizer import BEGIN_ID, BLANK_ID, MISSING_ID

COPY_SHARES = np.arange(10) / 10  # how much the previous unit's token is trusted; fitted on train windows


def f1_sums(decided: np.ndarray, meant: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 of a decision as 2 tp over 2 tp + fp + fn, summed over all but the first axis (windows)."""
    axes = tuple(range(1, decided.ndim))
    hits = 2.0 * (decided & meant & counted).sum(axes)
    return hits, hits + ((decided != meant) & counted).sum(axes)


@dataclass(frozen=True, kw_only=True)
class Unigram:
    """Shares of text ids on train windows, smoothed by one count each; and how much a copied id is trusted."""

    share_V: np.ndarray  # float64, BLANK included; MISSING and BEGIN never occur
    copy_share: float

    def blank_free(self) -> np.ndarray:
        """Shares among ids that are not BLANK, float64 (V,)."""
        share_V = self.share_V.copy()
        share_V[BLANK_ID] = 0
        return share_V / share_V.sum()

    def copy_probability(self, target: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """Probability of `target`: the previous unit's id with weight `copy_share`, otherwise the shares."""
        return self.copy_share * (target == previous) + (1 - self.copy_share) * self.share_V[target]


def fit_unigram(windows: Iterable[Mapping[str, np.ndarray]], vocab_size: int) -> Unigram:
    """Count the agent's known ids (train windows), and fit the copying share to the ids that are not BLANK.

    Args:
        windows: Samples with `agent_text` (K, S) and `agent_text_known` (K,).
    """
    counts = np.ones(vocab_size)
    counts[[MISSING_ID, BEGIN_ID]] = 0
    targets, copied = [], []
    for sample in windows:
        text, known = sample["agent_text"], sample["agent_text_known"]
        counts += np.bincount(text[known].ravel(), minlength=vocab_size)
        both = known[1:] & known[:-1]
        targets.append(text[1:][both].ravel())
        copied.append(text[:-1][both].ravel())
    counts[[MISSING_ID, BEGIN_ID]] = 0
    share_V = counts / counts.sum()
    target, previous = (np.concatenate(parts) if parts else np.zeros(0, dtype=int) for parts in (targets, copied))
    spoken = target != BLANK_ID
    target, previous = target[spoken], previous[spoken]
    losses = [
        -np.log(Unigram(share_V=share_V, copy_share=share).copy_probability(target, previous)).sum()
        for share in COPY_SHARES
    ]
    return Unigram(share_V=share_V, copy_share=float(COPY_SHARES[int(np.argmin(losses))]))
