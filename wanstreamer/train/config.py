"""Settings of a duplex training, with their bounds. No torch here, so that checking a file is fast."""

from dataclasses import dataclass

from wanstreamer.bounds import bounded, check_bounds, from_one, from_zero, random_seed, share


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training. Equal settings, data, ranks and threads give equal bytes on a CPU."""

    steps: int = from_one(1400)  # the default suits 20 minutes of dialogue
    batch_size: int = from_one(
        4
    )  # windows per step, over all ranks; more steps give better results than larger batches
    micro_batch: int = from_zero(0)  # windows per pass on a rank, to use less memory; 0: all windows of the rank
    learning_rate: float = bounded(
        2e-3, above=0
    )  # its peak, after the warm-up; then it decreases to zero along a cosine
    warmup_steps: int = from_zero(100)  # steps until the peak of the learning rate
    weight_decay: float = from_zero(0.05)  # weight decay of matrices
    grad_clip: float = bounded(1.0, above=0)  # largest norm of a gradient
    ema_decay: float = share(0.998)  # decay of the averaged weights; these are validated and saved
    text_weight: float = from_zero(1.0)  # weight of the text loss; the paper gives no loss weights
    audio_weight: float = from_zero(5.0)  # weight of the audio loss
    video_weight: float = from_zero(3.0)  # weight of the video loss
    event_weight: float = from_zero(1.0)  # weight of units around the agent's onsets, backchannels and interruptions
    interrupting_weight: float = from_zero(0.0)  # weight of units in which the agent interrupts the user
    silence_weight: float = from_zero(
        2.0
    )  # weight of text in units in which no one speaks: few of them show when to begin
    identity_jitter: float = from_zero(
        1.0
    )  # how far faces are moved towards other faces, so that the few faces are not learnt by heart
    user_text_drop: float = share(0.5)  # share of windows without the user's words; live use has none
    agent_text_drop: float = share(
        0.5
    )  # share of windows without the agent's words: audio and video are learnt without text
    prior_batches: int = from_one(32)  # batches on which the prior of a unit, given the last unit, is fitted
    bfloat16: bool = True  # run the passes in bfloat16, on a GPU only
    compile: bool = True  # compile the blocks, on a GPU only
    log_every: int = from_one(100)  # steps between rows of the history, and between validations
    checkpoint_s: float = from_zero(
        30.0
    )  # seconds between saved states, from which a killed training resumes; does not change the result
    seed: int = random_seed()
    threads: int = from_one(1)  # torch threads; two are slower at scale tiny. The result depends on them

    def __post_init__(self) -> None:
        check_bounds(self)
