"""Text sampling: whether something is said is the model's own probability, what is said follows the temperature."""

import pytest
import torch

from wanstreamer.model.sequence import BLANK, FIRST_WORD
from wanstreamer.streaming.thinker import sample_token

WORDS = 40  # equally likely ways to begin
SILENT = 0.8
LOGITS = torch.full((FIRST_WORD + WORDS,), float("-inf"))
LOGITS[BLANK] = torch.tensor(SILENT).log()
LOGITS[FIRST_WORD:] = torch.tensor((1 - SILENT) / (WORDS + 1)).log()
LOGITS[FIRST_WORD] += torch.tensor(2.0).log()


def draw(temperature: float, count: int = 4000, epsilon: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.tensor([sample_token(LOGITS, temperature, generator, epsilon) for _ in range(count)])


@pytest.mark.parametrize("temperature", [0.3, 0.85, 1.0, 2.0])
def test_how_often_something_is_said_does_not_hang_on_the_temperature(temperature: float) -> None:
    assert float((draw(temperature) == BLANK).float().mean()) == pytest.approx(SILENT, abs=0.02)


def test_the_temperature_is_that_of_the_words() -> None:
    likeliest = [
        float((drawn[drawn != BLANK] == FIRST_WORD).float().mean()) for drawn in (draw(0.2), draw(1.0), draw(4.0))
    ]
    assert likeliest[0] > 3 * likeliest[1] > 3 * likeliest[2]
    assert likeliest[1] == pytest.approx(2 / (WORDS + 1), abs=0.03)


def test_zero_takes_the_likeliest_token_of_all() -> None:
    assert set(draw(0.0, 10).tolist()) == {BLANK}


def test_words_rarer_than_epsilon_are_never_said_and_without_others_nothing_is() -> None:
    word = (1 - SILENT) / (WORDS + 1)
    drawn = draw(1.0, epsilon=1.5 * word)
    assert set(drawn.tolist()) == {BLANK, FIRST_WORD}
    assert float((drawn == BLANK).float().mean()) == pytest.approx(SILENT, abs=0.02)  # whether is not asked of epsilon
    assert set(draw(1.0, 1000, epsilon=3 * word).tolist()) == {BLANK}
    assert torch.equal(draw(0.85, 200), draw(0.85, 200, epsilon=0.5 * word))
