"""Words <-> text ids: a byte-level BPE fitted on train words, or a finished tokenizer, used unchanged.

The ids in windows start with BLANK, MISSING and BEGIN. The ids of a tokenizer without them, such as a language model's,
are shifted by three. A word is encoded with the space before it, as byte-level BPE expects inside running text.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from wanstreamer.errors import InputError

BLANK_ID, MISSING_ID, BEGIN_ID = 0, 1, 2
SPECIALS = ("<blank>", "<missing>", "<begin>")  # in our own tokenizer, with ids 0 to 2


@dataclass(frozen=True, kw_only=True)
class TextTokenizer:
    """A tokenizer, and the shift of its ids in windows: 0 if it has our special ids, else 3."""

    tokenizer: Tokenizer
    offset: int
    known: dict[str, list[int]] = field(default_factory=dict, repr=False, compare=False)  # cache: word -> ids

    @property
    def vocab_size(self) -> int:
        """Number of text ids, including BLANK, MISSING and BEGIN."""
        return max(self.tokenizer.get_vocab().values()) + 1 + self.offset  # some vocabularies have unused ids

    def encode_word(self, word: str) -> list[int]:
        """Ids of one word; at least one if the word is not empty."""
        if word not in self.known:
            encoding = self.tokenizer.encode(" " + word.strip(), add_special_tokens=False)
            self.known[word] = [token + self.offset for token in encoding.ids]
        return self.known[word]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; BLANK, MISSING and BEGIN are left out."""
        return self.tokenizer.decode([i - self.offset for i in ids if i >= len(SPECIALS)]).strip()


def fit_tokenizer(words: Sequence[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE on words; at most `vocab_size` ids, or fewer if the words give fewer merges.

    The byte alphabet is always complete, so that every word of every language can be encoded: at least 3 + 256 ids.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    # Sorted, so that the result does not depend on the order of sessions.
    tokenizer.train_from_iterator([" " + word.strip() for word in sorted(words)], trainer)
    return tokenizer


def load_tokenizer(path: Path) -> TextTokenizer:
    """A finished tokenizer: a `tokenizer.json`, or a local Hugging Face tokenizer folder. Never the network.

    Raises InputError if it does not exist or cannot be read.
    """
    if path.is_dir() and not (path / "tokenizer.json").is_file():
        return _wrap(_load_converted(path))
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{path}: no such tokenizer; expected a tokenizer.json, a local tokenizer folder, or '' to fit one"
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{file}: not a tokenizer.json of the tokenizers library ({error})") from error
    return _wrap(tokenizer)


def _load_converted(folder: Path) -> Tokenizer:
    """Older folders have vocab.json + merges.txt; transformers converts them to a fast tokenizer."""
    from transformers import AutoTokenizer  # takes seconds to import, and is rarely needed

    try:
        loaded = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no tokenizer.json and not a Hugging Face tokenizer folder") from error
    if not getattr(loaded, "is_fast", False):
        raise InputError(f"{folder}: a slow tokenizer; expected a fast one, which can be saved as tokenizer.json")
    return loaded.backend_tokenizer


def _wrap(tokenizer: Tokenizer) -> TextTokenizer:
    own = all(tokenizer.token_to_id(token) == i for i, token in enumerate(SPECIALS))
    # Truncation or padding left in a saved file would cut or lengthen words.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TextTokenizer(tokenizer=tokenizer, offset=0 if own else len(SPECIALS))
