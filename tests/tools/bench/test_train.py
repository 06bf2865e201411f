"""The bench of training: its figures, and that operations are counted as torch counts them."""

import argparse
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.duplex_fixtures import CONFIG, random_model
from tools import flops
from tools.bench import train
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import Noisy
from wanstreamer.model.sequence import clean_tokens, join, noisy_tokens, visible


def arguments(**changes: object) -> argparse.Namespace:
    given = {"scale": "tiny", "batch_size": 2, "micro_batch": 1, "units": 4, "rounds": 2, "steps": 1, "threads": 1}
    return argparse.Namespace(**given | {"peak_tflops": None} | changes)


def test_training_beside_what_the_machine_could_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "MATRIX", 256)
    before = torch.get_num_threads()
    found = train.run(arguments())
    assert torch.get_num_threads() == before
    tokens = 2 * 4 * (9 + 2)  # nine clean ones a unit, two noisy
    assert found["tokens_per_step"] == tokens
    for number in range(2):
        assert found["tokens_per_s"][number] == pytest.approx(1000 * tokens / found["step_ms"][number], rel=0.01)
        used = found["tflop_per_step"] / found["step_ms"][number] * 1000 / found["peak_tflops"][number]
        assert 0 < found["mfu"][number] == pytest.approx(used, rel=0.05)
    json.dumps(found)
    train.show(found)
    said = " ".join(capsys.readouterr().out.split())
    assert "model FLOPs utilisation" in said and "measured" in said and f"torch {torch.__version__}" in said
    assert set(train.run(arguments(peak_tflops=0.5, rounds=1))["peak_tflops"]) == {0.5}


def test_operations_are_those_that_torch_counts_on_the_visible_pairs() -> None:
    units = 5
    batch = flops.random_batch(CONFIG, 1, units)
    noisy = Noisy(batch.agent_audio_BKNC, batch.agent_video_BKCHW, torch.ones(1, units))
    with FlopCounterMode(display=False) as counter:
        random_model()(batch, noisy)
    by_kind = counter.get_flop_counts()["Global"]
    linear = sum(count for operation, count in by_kind.items() if "attention" not in str(operation))
    clean, copies = clean_tokens(CONFIG.layout, units), noisy_tokens(CONFIG.layout, units)
    pairs = int(visible(clean, clean, 0).sum() + visible(copies, join(clean, copies), 0).sum())
    attention = 4 * CONFIG.num_layers * CONFIG.num_heads * CONFIG.head_dim * pairs
    assert flops.step_flops(CONFIG, 3, units) == 3 * 3 * (linear + attention)
    assert flops.visible_pairs(copies, join(clean, copies), 0) < len(copies.unit_N) * (len(clean.unit_N) + 10)


def test_a_card_has_the_peak_of_its_name() -> None:
    assert train.known_tflops("NVIDIA H200") == 989 and train.known_tflops("NVIDIA H100 PCIe") == 756
    with pytest.raises(InputError, match=r"no peak known for 'Voodoo 2'; pass .* --peak-tflops"):
        train.known_tflops("Voodoo 2")


@pytest.mark.parametrize("change", [{"rounds": 0}, {"micro_batch": -1}, {"peak_tflops": 0.0}])
def test_impossible_arguments_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        train.run(arguments(**change))
