"""Plans of samples with the shares of the splits that the stage has by default."""

from pipelines.conversation.cast import Recording, plan

SHARES = {"salt": "wanstreamer", "valid_fraction": 0.1, "test_fraction": 0.2}


def plan_of(num_sessions: int, seconds: int, seed: int = 0) -> list[Recording]:
    return plan(num_sessions, seed=seed, seconds=seconds, **SHARES)  # type: ignore[arg-type]
