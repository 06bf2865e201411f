"""Settings of a duplex training, with their bounds. No torch here: a parameter file is checked before it is loaded."""

from dataclasses import dataclass

from wanstreamer.bounds import bounded, check_bounds, from_one, from_zero, random_seed, share


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run; equal values, data, ranks and thread count give equal bytes on a CPU."""

    steps: int = from_one(1400)  # the default suits 20 minutes of dialogue
    batch_size: int = from_one(4)  # windows of a step, over all ranks; more steps beat larger batches
    micro_batch: int = from_zero(0)  # windows of one pass on a rank, for less memory; 0: all it has
    learning_rate: float = bounded(2e-3, above=0)  # peak, after warm-up; falls to zero along a cosine
    warmup_steps: int = from_zero(100)
    weight_decay: float = from_zero(0.05)  # of matrices
    grad_clip: float = bounded(1.0, above=0)  # longest gradient
    ema_decay: float = share(0.998)  # of the averaged weights, which are what is saved and validated
    text_weight: float = from_zero(1.0)  # loss weights; the paper gives none. Text asks most of the blocks
    audio_weight: float = from_zero(5.0)
    video_weight: float = from_zero(3.0)
    event_weight: float = from_zero(1.0)  # of units around the agent's onsets, backchannels, interruptions
    interrupting_weight: float = from_zero(0.0)  # of units in which the agent interrupts the user
    silence_weight: float = from_zero(2.0)  # of text in units in which nobody speaks: few say when to begin
    identity_jitter: float = from_zero(1.0)  # how far faces move towards others; else few are learnt by heart
    user_text_drop: float = share(0.5)  # share of windows that train without the user's words; live use has none
    agent_text_drop: float = share(0.5)  # and without the agent's: sound and face follow from the conversation alone
    prior_batches: int = from_one(32)  # from which the prior of a unit, given the last one, is fitted
    bfloat16: bool = True  # passes in bfloat16, on a GPU only
    compile: bool = True  # blocks compiled, on a GPU only
    log_every: int = from_one(100)  # steps between rows of history and validations
    checkpoint_s: float = from_zero(30.0)  # wall-clock seconds between states for resuming; changes no result
    seed: int = random_seed()
    threads: int = from_one(1)  # of torch; two are slower at scale tiny. The result depends on it

    def __post_init__(self) -> None:
        check_bounds(self)
