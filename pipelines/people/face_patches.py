"""A picture and the landmarks of a face -> small upright patches of it, and what they look like.

All faces are brought to one size and place: the middle of the eyes and that of the mouth are always at the same pixels.
A patch is then moved by up to a few pixels until the upper half of the face is where it was before: what is left of
the motion in the lower half is that of the mouth.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from pipelines.media.pictures import SmallPicture

PATCH = (40, 48)  # width, height of a patch
EYES_AT, MOUTH_AT = (20.0, 14.0), (20.0, 30.0)  # x, y of the middle of the eyes and of the mouth
UPPER = slice(2, 23)  # rows without the mouth
MOUTH_ROWS, MOUTH_COLUMNS = slice(24, 42), slice(8, 32)
STRIPS = 3  # from left to right
QUANTILES = (0.05, 0.25, 0.75, 0.95)
MOVE_PX = 4.0  # a patch is moved by at most this
FOLLOW = 0.1  # how fast the expected upper half follows the face
ASD_SIDE = 112  # pixels of what LR-ASD gets
OUTSIDE = 110  # grey around the picture, as in LR-ASD's own preparation
REGIONS = ((-0.25, 0.25, -0.20, 0.05), (-0.30, 0.30, 0.35, 0.75), (-0.50, 0.50, 1.25, 1.70))
"""Hair, skin and clothes: left, right (from the middle, in widths of the face's box), top, bottom (in heights)."""
_LIMITED = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
_WHOLE_WINDOW = cv2.createHanningWindow(PATCH, cv2.CV_32F)
_WINDOW = cv2.createHanningWindow((PATCH[0], UPPER.stop - UPPER.start), cv2.CV_32F)


class Steady:
    """Patches of one face, each moved to where the face was before."""

    def __init__(self) -> None:
        self.upper: np.ndarray | None = None

    def patch(self, luma_HW: np.ndarray, landmarks_52: np.ndarray) -> np.ndarray:
        """float32 (48, 40), 0 to 255."""
        to_patch = _to_patch(landmarks_52)
        patch = _warped(luma_HW, to_patch)
        if self.upper is None:
            self.upper = patch[UPPER].copy()
            return patch
        (move_x, move_y), response = _moved_by(self.upper, patch[UPPER], _WINDOW)
        if response > 0.1 and max(abs(move_x), abs(move_y)) <= MOVE_PX:
            to_patch[:, 2] -= (move_x, move_y)
            patch = _warped(luma_HW, to_patch)
        self.upper += FOLLOW * (patch[UPPER] - self.upper)
        return patch


def mouth_light(patch_HW: np.ndarray) -> np.ndarray:
    """Quantiles of the brightness in strips of the mouth relative to the whole face, float32 (12,), strip by strip.

    A mouth that opens shows more dark pixels. A nod moves the mouth up and down in its strips, which changes little.
    """
    mouth = patch_HW[MOUTH_ROWS, MOUTH_COLUMNS]
    strips = mouth.reshape(len(mouth), STRIPS, -1).transpose(1, 0, 2).reshape(STRIPS, -1)
    places = [round(share * (strips.shape[1] - 1)) for share in QUANTILES]
    return (np.sort(strips, axis=1)[:, places] / max(float(patch_HW.mean()), 1.0)).ravel().astype(np.float32)


def mirrored(light_TB: np.ndarray) -> np.ndarray:
    """`mouth_light` of the same face in a mirror."""
    return light_TB.reshape(-1, STRIPS, len(QUANTILES))[:, ::-1].reshape(len(light_TB), -1)


def changed(earlier_HW: np.ndarray, luma_HW: np.ndarray, landmarks_52: np.ndarray, moved_2: np.ndarray) -> float:
    """How much a face has changed where it has changed most, relative to its contrast: about 0 for a photograph.

    Both pictures are looked at through one window, so that errors of landmarks are no changes. `moved_2`: by how much
    the face was elsewhere in the earlier picture.
    """
    to_patch = _to_patch(landmarks_52)
    patch = _warped(luma_HW, to_patch)
    least = np.inf
    for move_2 in (np.zeros(2), moved_2):  # the first for a camera that stands still
        before = to_patch.copy()
        before[:, 2] -= to_patch[:, :2] @ move_2
        earlier = _warped(earlier_HW, before)
        least = min(least, _unlike(patch, earlier))
        for _ in range(2):  # the second time for parts of a pixel
            step_2, response = _moved_by(patch, earlier, _WHOLE_WINDOW)
            if response > 0.1:
                before[:, 2] -= step_2
                earlier = _warped(earlier_HW, before)
                least = min(least, _unlike(patch, earlier))
    return least


def _unlike(one_HW: np.ndarray, other_HW: np.ndarray) -> float:
    """The third largest mean difference of the blocks of two patches, in contrasts of the first."""
    blocks = np.abs(one_HW - other_HW).reshape(8, PATCH[1] // 8, 5, PATCH[0] // 5).mean((1, 3))
    return float(np.sort(blocks, axis=None)[-3] / max(float(one_HW.std()), 4.0))


def sharpness(patch_HW: np.ndarray) -> float:
    """Share of the finest detail in a patch: 0 for a blurred face."""
    return float(cv2.Laplacian(patch_HW, cv2.CV_32F).std() / max(float(patch_HW.std()), 4.0))


def is_frontal(landmarks_52: np.ndarray) -> bool:
    """Whether the tip of the nose is between the eyes, and these are as far apart as from the front."""
    right_eye, left_eye, nose, right_mouth, left_mouth = landmarks_52
    across = left_eye - right_eye
    apart = float(np.hypot(*across))
    down = float(np.hypot(*((right_mouth + left_mouth - right_eye - left_eye) / 2)))
    if apart < 1e-6 or apart < 0.6 * down:
        return False
    aside = float((nose - (right_eye + left_eye) / 2) @ across) / apart**2
    return abs(aside) < 0.25


def speaker_patch(luma_HW: np.ndarray, box_4: np.ndarray) -> np.ndarray:
    """What LR-ASD gets of a face: uint8 (112, 112), full range; a square of 0.7 of the box, from above the mouth."""
    left, top, right, bottom = box_4
    half = max(right - left, bottom - top) / 2
    side = 1.4 * half
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2 + 0.4 * half
    scale = ASD_SIDE / max(side, 1.0)
    to_patch = np.array([[scale, 0, ASD_SIDE / 2 - scale * centre_x], [0, scale, ASD_SIDE / 2 - scale * centre_y]])
    how = cv2.INTER_LINEAR if scale > 0.6 else cv2.INTER_AREA
    outside = 16 + OUTSIDE * 219 // 255
    patch = cv2.warpAffine(luma_HW, to_patch, (ASD_SIDE, ASD_SIDE), flags=how, borderValue=outside)
    return _LIMITED[patch]


def colours(picture: SmallPicture, box_4: np.ndarray) -> np.ndarray:
    """Mean brightness and colour of hair, skin and clothes, float32 (3, 3); NaN where they are out of the picture."""
    left, top, right, bottom = box_4
    across, down, middle = right - left, bottom - top, (left + right) / 2
    values = np.full((len(REGIONS), 3), np.nan, np.float32)
    luma, (blue, red) = picture.luma, picture.chroma
    for place, (from_x, to_x, from_y, to_y) in enumerate(REGIONS):
        x0, x1 = max(0, round(middle + from_x * across)), min(luma.shape[1], round(middle + to_x * across))
        y0, y1 = max(0, round(top + from_y * down)), min(luma.shape[0], round(top + to_y * down))
        if (
            (x1 - x0) * (y1 - y0) < 0.5 * (to_x - from_x) * across * (to_y - from_y) * down
            or x1 - x0 < 2
            or y1 - y0 < 2
        ):
            continue
        halves = np.s_[y0 // 2 : max(y1 // 2, y0 // 2 + 1), x0 // 2 : max(x1 // 2, x0 // 2 + 1)]
        values[place] = luma[y0:y1, x0:x1].mean(), blue[halves].mean(), red[halves].mean()
    return values


def _to_patch(landmarks_52: np.ndarray) -> np.ndarray:
    """The turn, scale and move that bring eyes and mouth to their places, float64 (2, 3)."""
    eyes, mouth = landmarks_52[:2].mean(0), landmarks_52[3:].mean(0)
    # As complex numbers, a turn with a scale is one factor.
    way, wanted = complex(*(mouth - eyes)), complex(*MOUTH_AT) - complex(*EYES_AT)
    factor = wanted / (way if abs(way) > 1e-3 else 1e-3j)
    move = complex(*EYES_AT) - factor * complex(*eyes)
    return np.array([[factor.real, -factor.imag, move.real], [factor.imag, factor.real, move.imag]])


def _moved_by(one_HW: np.ndarray, other_HW: np.ndarray, window_HW: np.ndarray) -> tuple[Sequence[float], float]:
    """How far the other is moved in x and y, and how sure this is. OpenCV multiplies its arguments by the window."""
    return cv2.phaseCorrelate(one_HW.copy(), other_HW.copy(), window_HW)


def _warped(luma_HW: np.ndarray, to_patch: np.ndarray) -> np.ndarray:
    """float32 (48, 40)."""
    patch = cv2.warpAffine(luma_HW, to_patch, PATCH, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return patch.astype(np.float32)
