"""Parameters of the stage people, with their bounds."""

from dataclasses import dataclass, field

from pipelines.people.faces_params import FacesParams
from pipelines.people.voices_params import VoicesParams
from wanstreamer.bounds import check_bounds, from_zero, share


@dataclass(frozen=True, kw_only=True)
class PeopleParams:
    """How the two people of a recording are found, and when a recording is no conversation of two."""

    voice_model: str = ""  # folder of a pyannote diarization pipeline or embedding; empty: Resemblyzer's voice encoder
    asd_model: str = ""  # folder with the weights of LR-ASD; empty: mouths are compared with the sound
    face_model: str = ""  # folder with the weights of SFace; empty: faces are compared by place, size and colours
    min_voice_s: float = from_zero(2.0)  # speech of each of the two; with less, the recording is rejected as one_person
    # A third voice that speaks for less than this, and for a smaller share of all speech than the next, is masked.
    # With more, the recording is rejected as more_than_two.
    max_third_voice_s: float = from_zero(2.0)
    max_third_voice_share: float = share(0.02)
    # How sure it must be which face has which voice; below, the recording is rejected as uncertain_assignment.
    min_face_confidence: float = share(0.3)
    voices: VoicesParams = field(default_factory=VoicesParams)
    faces: FacesParams = field(default_factory=FacesParams)

    def __post_init__(self) -> None:
        check_bounds(self)
