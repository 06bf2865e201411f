"""Folders of the kinds of weights that people fetch, tiny and random: Whisper, wav2vec2, pyannote.

Import after `import_speech_packages`; nothing here goes to the network.
"""

import json
from pathlib import Path

import numpy as np
import torch

NUM_TIMESTAMPS = 1501
PROMPT = 2  # tokens that a Whisper of English alone is given before it writes; one of many languages gets two more
DIMENSION = 256  # of voices, as WeSpeaker's


def whisper(folder: Path, text: str, languages: dict[str, float] | None = None) -> Path:
    """In CTranslate2's format; it writes `text` for any sound, of at most 13 different words.

    Args:
        languages: The weight of each language that it detects, of at most two; None: it knows English only.
    """
    import ctranslate2
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = list(dict.fromkeys(text.split()))
    spelled = [*letters, *(f"Ġ{word}" for word in words)]
    unused = [""] if languages else []  # by this token CTranslate2 knows a model of many languages
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate([*spelled, *unused])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    languages = languages or {}
    special = [
        "<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in languages), "<|translate|>",
        "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>",
    ]  # fmt: skip
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    first = len(spelled) + len(unused)
    size = first + len(special) + NUM_TIMESTAMPS
    prompt = PROMPT + 2 * bool(languages)
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=size, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=first, bos_token_id=first,
        eos_token_id=first, decoder_start_token_id=first + 1,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    with torch.no_grad():  # each token a dimension of its own; the position says which is next
        decoder = model.model.decoder
        decoder.embed_tokens.weight[len(letters) : len(spelled)] = torch.eye(16)[: len(words)]
        decoder.embed_tokens.weight[first] = torch.eye(16)[len(words)]
        word_tokens = [words.index(word) for word in text.split()]
        for place in range(len(word_tokens) + 8):
            token = word_tokens[place] if place < len(word_tokens) else len(words)
            decoder.embed_positions.weight[prompt - 1 + place] = 20 * torch.eye(16)[token]
        for place, weight in enumerate(languages.values()):  # heard at the first token
            decoder.embed_tokens.weight[first + 2 + place] = torch.eye(16)[15 - place]
            decoder.embed_positions.weight[0] += 20 * weight * torch.eye(16)[15 - place]
    model.generation_config.suppress_tokens = [
        *range(len(letters)),
        *range(len(spelled), first),
        *range(first + 1, size),
    ]
    model.generation_config.begin_suppress_tokens = [first]
    model.generation_config.lang_to_id = {}
    source = folder.with_name(folder.name + "-source")
    model.save_pretrained(source)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[0], additional_special_tokens=special[1:]
    ).save_pretrained(source)
    ctranslate2.converters.TransformersConverter(str(source), copy_files=["tokenizer.json"]).convert(str(folder))
    config = json.loads((folder / "config.json").read_text())  # the converter does not find the languages
    config["lang_ids"] = [first + 2 + place for place in range(len(languages))]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def wav2vec2(folder: Path) -> Path:
    """Knows the letters a to z, and no digits."""
    import transformers

    folder.mkdir(parents=True)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(letters)}))
    transformers.Wav2Vec2Processor(
        transformers.Wav2Vec2FeatureExtractor(), transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def segmentation(folder: Path, speech: float) -> Path:
    """A PyanNet of three voices that hears the first with about the probability `speech`, at any time."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(0)
    model = PyanNet(
        lstm={"hidden_size": 8, "num_layers": 1, "bidirectional": True}, linear={"hidden_size": 8, "num_layers": 1}
    )
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION, resolution=Resolution.FRAME, duration=5.0,
        classes=["one", "two", "three"], powerset_max_classes=2, permutation_invariant=True,
    )  # fmt: skip
    model.build()
    with torch.no_grad():
        model.classifier.bias.fill_(-20)
        model.classifier.bias[:2] = torch.tensor([np.log(1 - speech), np.log(speech)])
    return _checkpoint(model, folder)


def diarization(folder: Path) -> Path:
    """A pipeline as it is published: segmentation, WeSpeaker's embedding and PLDA, and a config that names them."""
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34

    segmentation(folder / "segmentation", 0.9)
    model = WeSpeakerResNet34()
    model.specifications = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0)
    model.build()
    _checkpoint(model, folder / "embedding")
    noise = np.random.default_rng(0)
    (folder / "plda").mkdir()
    np.savez(
        folder / "plda/xvec_transform.npz", mean1=np.zeros(DIMENSION), mean2=np.zeros(128),
        lda=noise.normal(size=(DIMENSION, 128)),
    )  # fmt: skip
    np.savez(folder / "plda/plda.npz", mu=np.zeros(128), tr=noise.normal(size=(128, 128)), psi=noise.random(128) + 0.1)
    parts = {name: f"$model/{name}" for name in ("segmentation", "embedding", "plda")}
    config = {
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {"clustering": "VBxClustering", **parts},
        },
        "params": {
            "clustering": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8}, "segmentation": {"min_duration_off": 0.0}
        },
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return folder


def _checkpoint(model, folder: Path) -> Path:  # type: ignore[no-untyped-def]
    """As pyannote's trainer would write it."""
    import lightning

    folder.mkdir(parents=True)
    content = {
        "state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__, "epoch": 0, "global_step": 0,
    }  # fmt: skip
    model.on_save_checkpoint(content)
    torch.save(content, folder / "pytorch_model.bin")
    return folder
