"""What stages cost on a machine, from amounts and slopes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.annotate.params import AnnotateParams
from pipelines.engine.jobs import RunParams
from pipelines.ingest.params import IngestParams
from pipelines.pack.params import PackParams
from pipelines.train.params import DuplexParams
from pipelines.vae.params import VaeParams
from tools.plan.amounts import BULK_FACTORS, FACTORS, Amounts
from tools.plan.corpus import Corpus, Outlook
from tools.plan.predict import EFFICIENCY, STAGES, Cost, Machine, Prices, predict
from tools.plan.slopes import Slopes, Start, read_slopes

HOUR_UNITS = 22_500
ONE = 1.0  # second per session: the only slope of SLOPES that is not zero


def flat_slopes() -> Slopes:
    """A session takes ONE CPU second in every stage, and a start two seconds."""
    cpu = {stage: dict.fromkeys(names, 0.0) for stage, names in FACTORS.items()}
    cpu["quality"] |= {"audio_tracks": ONE / 2}
    for stage in ("ingest", "annotate", "encode", "pack"):
        cpu[stage] |= {"sessions": ONE}
    tables = {stage: dict.fromkeys(BULK_FACTORS, 0.0) for stage in FACTORS}
    return replace(
        read_slopes(None), cpu_s=cpu, tables_mb=tables, start={stage: Start(ray_s=2, plain_s=1) for stage in STAGES},
        driver_s={stage: {} for stage in FACTORS}, gpu_s={},
    )  # fmt: skip


def corpus_of(sessions: int) -> Corpus:
    """Sessions of an hour, of two people with video and sound."""
    outlook = Outlook(
        hours=1, split="train", num_units=HOUR_UNITS, num_tracks={"audio": 2, "video": 2},
        amounts=Amounts(sessions=1, audio_tracks=2, video_tracks=2, session_s=3600, audio_s=7200, video_s=7200,
                        spoken_s=7200, video_mb=1000, source_mpx=100_000, windows=2 * 1405),
    )  # fmt: skip
    return Corpus(source="recordings", outlooks=[outlook] * sessions, num_sessions=sessions, num_files=2 * sessions)


def params(**changes: Any) -> dict[str, Any]:
    return {"run": RunParams(), "ingest": IngestParams(), "annotate": AnnotateParams(),
            "vae": VaeParams(weights="none"), "pack": PackParams(), "duplex": DuplexParams()} | changes  # fmt: skip


def costs(sessions: int, machine: Machine | None = None, prices: Prices | None = None, **more: Any) -> dict[str, Cost]:
    return predict(
        corpus_of(sessions), more.pop("params", params()), flat_slopes(), machine or Machine(cores=4),
        prices or Prices(), **more,
    )  # fmt: skip


def test_work_is_shared_by_the_cores_and_nothing_ends_before_its_longest_session() -> None:
    for stage in FACTORS:
        assert costs(100)[stage].cpu_s == pytest.approx(100 * ONE)
        assert costs(100)[stage].wall_s == pytest.approx(2 + 100 * ONE / 4 / EFFICIENCY)
        assert costs(100, Machine(cores=50))[stage].wall_s == pytest.approx(2 + 2 * ONE / EFFICIENCY)
    assert costs(3, Machine(cores=64))["quality"].wall_s == pytest.approx(1 + ONE / EFFICIENCY)  # without Ray
    few = costs(100, Machine(cores=1000))["ingest"]  # in spans of five minutes, on several cores
    assert few.wall_s is not None and few.wall_s < 2 + ONE / EFFICIENCY * 1.01


def test_the_first_session_of_a_worker_takes_longer_without_ray() -> None:
    slopes = flat_slopes()
    slopes.cpu_s["pack"]["workers"] = 3.0
    for ray, extra_s in ((True, 0), (False, 4 * 3)):
        found = predict(corpus_of(100), params(run=RunParams(ray=ray)), slopes, Machine(cores=4), Prices())
        assert found["pack"].cpu_s == pytest.approx(100 * ONE + extra_s)


def test_money_counts_the_cores_that_a_stage_can_use() -> None:
    found = costs(100, Machine(cores=4), Prices(cpu_hour=0.5))
    assert found["pack"].money == pytest.approx(found["pack"].wall_s / 3600 * 4 * 0.5)  # type: ignore[operator]
    assert found["duplex"].money == pytest.approx(found["duplex"].wall_s / 3600 * 0.5)  # type: ignore[operator]


def test_disk_of_media_follows_their_formats() -> None:
    found = costs(10)
    hours = 10 * 2
    wav = hours * 3600 * 16_000 * 2
    assert found["ingest"].disk.bulk_bytes > wav
    silent = replace(flat_slopes(), bytes_per_frame=(0.0, 1.0))
    assert predict(corpus_of(10), params(), silent, Machine(cores=1), Prices())["ingest"].disk.bulk_bytes == wav
    latents = hours * HOUR_UNITS * 2 * (4 * 16 + 32 * 3 * 4)
    assert found["encode"].disk.bulk_bytes == pytest.approx(latents, rel=1e-3)
    large = costs(10, params=params(ingest=IngestParams(width=336, height=192)))
    assert large["encode"].disk.bulk_bytes == pytest.approx(latents * (64 + 32 * 21 * 12) / (64 + 32 * 12), rel=1e-3)


def test_a_gpu_without_slopes_cannot_be_told() -> None:
    found = costs(10, Machine(cores=4, gpus=1), Prices(gpu_hour=2))
    for stage in ("encode", "duplex"):
        assert (found[stage].cpu_s, found[stage].gpu_s, found[stage].wall_s, found[stage].money) == (None,) * 4
        assert "no slope was measured on a GPU" in found[stage].why
    assert found["ingest"].gpu_s == 0 and found["ingest"].wall_s
    arithmetic = costs(10, Machine(cores=4, gpus=2, gpu_tflops=1), Prices(gpu_hour=2))["duplex"]
    half = costs(10, Machine(cores=4, gpus=2, gpu_tflops=2), Prices(gpu_hour=2))["duplex"]
    assert arithmetic.gpu_s == pytest.approx(2 * half.gpu_s)  # type: ignore[operator]
    assert arithmetic.wall_s == pytest.approx(1 + arithmetic.gpu_s / 2)  # type: ignore[operator]
    measured = replace(flat_slopes(), gpu_s={"encode": {"sessions": 5.0}})
    encode = predict(corpus_of(10), params(), measured, Machine(cores=4, gpus=2), Prices())["encode"]
    assert encode.gpu_s == 50 and encode.wall_s == pytest.approx(2 + 25)
    without = predict(corpus_of(10), params(), measured, Machine(cores=4), Prices())["encode"]
    assert without.cpu_s is None and "pass --gpus" in without.why


def test_transcription_is_not_measured(tmp_path: Path) -> None:
    found = costs(10, params=params(annotate=AnnotateParams(words="whisperx")))
    assert found["annotate"].cpu_s is None and "whisperx" in found["annotate"].why
    assert found["pack"].cpu_s


def test_training_costs_its_steps_and_not_its_hours() -> None:
    few, many = (costs(n, params=params(duplex=DuplexParams(steps=1000)))["duplex"].cpu_s for n in (2, 200))
    assert few == many and few is not None
    const_s = flat_slopes().duplex["const_s"]
    twice = costs(2, params=params(duplex=DuplexParams(steps=2000)))["duplex"].cpu_s
    assert twice is not None and twice - const_s == pytest.approx(2 * (few - const_s))
    trained = costs(200, params=params(vae=VaeParams()))["vae"]
    finished = costs(200)["vae"]
    assert trained.cpu_s is not None and finished.cpu_s is not None and trained.cpu_s > finished.cpu_s + 30
    assert trained.wall_s is not None and trained.wall_s < trained.cpu_s  # two processes


def test_an_earlier_run_corrects_cpu_time_and_sizes() -> None:
    corrected = costs(100, corrections={"encode": {"cpu_s": 1.5, "gb": 0.5}})
    plain = costs(100)
    assert corrected["encode"].cpu_s == pytest.approx(1.5 * plain["encode"].cpu_s)  # type: ignore[operator]
    assert corrected["encode"].disk.gb == pytest.approx(plain["encode"].disk.gb / 2)
    assert corrected["pack"] == plain["pack"]
