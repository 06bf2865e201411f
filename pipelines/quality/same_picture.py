"""Two tracks of a session -> whether they show the same picture, so that the user and the agent would look the same.

This happens if both rows of a manifest name one video without a crop, or two exports of it, or if a meeting was
recorded as *active speaker*. The brightness of 48 blocks is compared: a codec, another size or another gain hardly
changes it. What moves decides: in each 4 s, the changes of the blocks must agree, and the places of light and shade
too. Mirrored pictures (a self-view) and pictures up to 1 s apart count as the same. If nothing moves in either track,
their still pictures are compared. Flat pictures prove nothing.
"""

from collections.abc import Sequence

import numpy as np

from pipelines.signals.av_offset import BLOCKS

STRETCH = 100  # frames: 4 s
SLOW = 51  # frames: what changes more slowly is exposure and posture; a codec changes it as much
MAX_LAG = 25  # frames
MOVING = 0.3  # of 255: root mean square change of the blocks; the noise of an encoder causes 0.1
# Correlations. A copy that was encoded poorly, or lacks its edges, has 0.72 and 0.89 or more in 95 % of the stretches.
# Of different people in the sample, 0.05 % of the stretches have more than 0.4 and 0.6.
SAME_MOVEMENT = 0.6
SAME_PLACES = 0.85  # of the mean pictures
SAME_STILL = 2.0  # of 255: mean difference of still pictures
STRUCTURED = 3.0  # of 255: standard deviation between the blocks of a picture that is not flat


def same_pictures(
    lights: Sequence[np.ndarray | None], contents: Sequence[str | None]
) -> list[tuple[float, int] | None]:
    """For each track: the largest share of its time in which another track shows the same picture, and which track.

    Args:
        lights: `block_light` of all frames of each track, (T, blocks); None without video.
        contents: Hashes of the video files.

    Returns:
        None for a track without video or partner, or if it cannot be decided with any partner.
    """
    shares: list[list[tuple[float, int]]] = [[] for _ in lights]
    for first, first_TB in enumerate(lights):
        for second, second_TB in enumerate(lights[:first]):
            if first_TB is None or second_TB is None:
                continue
            # Equal files are made from one file and crop. If nothing changes in them, both cameras may have been off.
            equal = contents[first] == contents[second] and float(first_TB.std(0).max()) > MOVING
            share = 1.0 if equal else same_share(first_TB, second_TB)
            if share is not None:
                shares[first].append((share, second))
                shares[second].append((share, first))
    return [max(known, key=lambda pair: (pair[0], -pair[1])) if known else None for known in shares]


def same_share(light_TB: np.ndarray, other_TB: np.ndarray) -> float | None:
    """Share of the stretches with movement in which two tracks show the same picture; None: cannot tell."""
    rows, columns = BLOCKS
    mirrored_TB = other_TB.reshape(-1, rows, columns)[:, :, ::-1].reshape(-1, rows * columns)
    shares = [_share(light_TB, each) for each in (other_TB, mirrored_TB)]
    known = [share for share in shares if share is not None]
    return max(known) if known else None


def _share(light_TB: np.ndarray, other_TB: np.ndarray) -> float | None:
    length = min(len(light_TB), len(other_TB))
    quick_TB, other_quick_TB = (_quick(blocks_TB[:length]) for blocks_TB in (light_TB, other_TB))
    lag = _best_lag(quick_TB, other_quick_TB)
    ours, theirs = slice(max(0, lag), length + min(0, lag)), slice(max(0, -lag), length - max(0, lag))
    starts = range(0, ours.stop - ours.start, STRETCH)
    same = [
        _is_same(*(blocks_TB[part][start : start + STRETCH] for blocks_TB, part in (
            (light_TB, ours), (other_TB, theirs), (quick_TB, ours), (other_quick_TB, theirs))))
        for start in starts
    ]  # fmt: skip
    known = [each for each in same if each is not None]
    if known:
        return round(sum(known) / len(known), 4)
    return _same_still(light_TB[:length].mean(0), other_TB[:length].mean(0))


def _is_same(
    light_TB: np.ndarray, other_TB: np.ndarray, quick_TB: np.ndarray, other_quick_TB: np.ndarray
) -> bool | None:
    """Whether a stretch of two tracks shows the same; None if nothing moves in either."""
    energy, other_energy = (float((blocks_TB**2).mean()) for blocks_TB in (quick_TB, other_quick_TB))
    if max(energy, other_energy) < MOVING**2:
        return None
    movement = float((quick_TB * other_quick_TB).mean()) / (np.sqrt(energy * other_energy) + 1e-9)
    places = _correlation(light_TB.mean(0), other_TB.mean(0))
    return bool(movement > SAME_MOVEMENT and places > SAME_PLACES)


def _same_still(light_B: np.ndarray, other_B: np.ndarray) -> float | None:
    if min(light_B.std(), other_B.std()) < STRUCTURED:
        return None
    return float(np.abs(light_B - other_B).mean() < SAME_STILL)


def _quick(light_TB: np.ndarray) -> np.ndarray:
    """Changes within about a second, without those of the whole picture, which a lamp causes in two cameras at once."""
    half = SLOW // 2
    padded = np.pad(light_TB, ((half + 1, half), (0, 0)), mode="edge").cumsum(0, dtype=np.float64)
    quick = light_TB - (padded[SLOW:] - padded[:-SLOW]) / SLOW
    return (quick - quick.mean(1, keepdims=True)).astype(np.float32)


def _best_lag(quick_TB: np.ndarray, other_TB: np.ndarray) -> int:
    """Frames by which `quick_TB` is later than `other_TB`, at their highest correlation."""
    length = len(quick_TB)
    lags = sorted(range(-min(MAX_LAG, length - 1), min(MAX_LAG, length - 1) + 1), key=abs)
    products = [
        float(np.vdot(quick_TB[max(0, lag) : length + min(0, lag)], other_TB[max(0, -lag) : length - max(0, lag)]))
        for lag in lags
    ]
    return lags[int(np.argmax(products))]


def _correlation(light_B: np.ndarray, other_B: np.ndarray) -> float:
    first, second = light_B - light_B.mean(), other_B - other_B.mean()
    return float(first @ second) / (float(np.linalg.norm(first) * np.linalg.norm(second)) + 1e-9)
