"""How a picture of any shape is put into the frame of a track: scaled, cut at its edges, or with a border.

    zoom 1, x 0.5, y 0.5   the picture covers the frame; what is left over is cut off equally at both ends
    zoom 0                 the whole picture is in the frame; what is left of the frame is a grey border

In between, `zoom` is the scale relative to that which covers the frame: one direction is cut, the other has a border.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

# Mid-grey: 0 where pixels are scaled to -1 to 1, and neither black nor white.
BORDER = "0x808080"


class Rect(NamedTuple):
    """A part of a picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Framing:
    """Where a picture lies in the frame. `x` and `y`: of the room that is left over or cut off, the share before the
    picture (0: its left or top edge is at the frame's; 1: its right or bottom edge)."""

    zoom: float = 1.0
    x: float = 0.5
    y: float = 0.5

    def scaled_size(self, picture: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture of this width and height (as displayed), once it is scaled for the frame."""
        aspect = picture[0] / picture[1]
        alike = round(frame[1] * aspect), round(frame[0] / aspect)
        return (
            max(1, min(frame[0], alike[0]), round(self.zoom * max(frame[0], alike[0]))),
            max(1, min(frame[1], alike[1]), round(self.zoom * max(frame[1], alike[1]))),
        )

    def picture_in_frame(self, picture: tuple[int, int], frame: tuple[int, int]) -> Rect:
        """The part of the frame that shows the picture; the rest is border."""
        places = [
            (int(max(0, room - size) * share), min(room, size))
            for room, size, share in zip(frame, self.scaled_size(picture, frame), (self.x, self.y), strict=True)
        ]
        return Rect(places[0][0], places[1][0], places[0][1], places[1][1])

    def kept_share(self, picture: tuple[int, int], frame: tuple[int, int]) -> float:
        """Share of the picture that is in the frame."""
        width, height = self.scaled_size(picture, frame)
        return min(1.0, frame[0] / width) * min(1.0, frame[1] / height)

    def scale(self, stream: Any, width: int, height: int, *, whole_pixels: str, **options: Any) -> Any:
        """Filters that scale for a frame of width x height and cut the edges off. The aspect comes from the stream,
        because it may change within a recording.

        whole_pixels: Formats in which no two pixels share a colour, for pictures that need not be as large as the
        frame: these may have an odd width, or begin at an odd pixel.
        """
        alike = f"round({height}*dar)", f"round({width}/dar)"
        size = [f"max({room},{other})" for room, other in zip((width, height), alike, strict=True)]
        if self.zoom != 1:
            fitting = [f"min({room},{other})" for room, other in zip((width, height), alike, strict=True)]
            size = [f"max(1,max({least},round({self.zoom}*{most})))" for least, most in zip(fitting, size, strict=True)]
        stream = stream.filter("scale", *size, **options)
        if self.zoom != 1:
            part = f"min(iw,{width})", f"min(ih,{height})", f"(iw-ow)*{self.x}", f"(ih-oh)*{self.y}"
            return stream.filter("format", whole_pixels).filter("crop", *part)
        if (self.x, self.y) == (0.5, 0.5):
            return stream.filter("crop", width, height)
        return stream.filter("crop", width, height, f"(iw-ow)*{self.x}", f"(ih-oh)*{self.y}")

    def add_border(self, stream: Any, width: int, height: int) -> Any:
        """The filter that fills the frame around the picture, if it can be smaller."""
        if self.zoom == 1:
            return stream
        stream = stream.filter("format", "yuv444p")
        return stream.filter("pad", width, height, f"(ow-iw)*{self.x}", f"(oh-ih)*{self.y}", BORDER)


CENTRE = Framing()  # the picture covers the frame, and its centre is kept
