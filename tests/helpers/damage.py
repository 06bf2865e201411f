"""Ways in which a file rots."""

import random
import shutil
from pathlib import Path


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content))
    for place in range(start, min(len(content), start + 64)):
        content[place] ^= 0xFF
    path.write_bytes(bytes(content))


def truncate(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def delete(path: Path, chance: random.Random) -> None:
    path.unlink()


def swap(path: Path, chance: random.Random) -> None:
    """Another file of the same kind takes its place."""
    others = sorted(other for other in path.parent.iterdir() if other != path and other.suffix == path.suffix)
    if others:
        shutil.copyfile(chance.choice(others), path)
    else:
        flip(path, chance)


DAMAGES = (flip, truncate, delete, swap)
