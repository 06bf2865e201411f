"""One session's annotations -> SVG pages, read like a musical score: lines of 12 seconds, a lane per participant.

From top to bottom, a line shows: seconds; a band in the colour of the participant who holds the floor; then, per
participant, the words, a bar for speech on a paler bar for the turn, and below them how the turn began. Sounds that are
not speech are amber, and their labels are among the words. Columns through all lanes are gaps (grey) and overlaps (red)
with their length in milliseconds.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from pipelines.media.svg import AMBER, COLOURS, GREY, INK, RED, STYLE, rect, text
from tools.picture.session import Lane, Picture
from wanstreamer.clock import Span

LINE_MS = 12_000  # 75 units
LINES_PER_PAGE = 15  # three minutes
PX_PER_MS = 0.12
LABEL_MS = 3000  # between numbers on the axis
LEFT, RIGHT = 96, 44
WIDTH = round(LEFT + LINE_MS * PX_PER_MS + RIGHT)
HEAD = 84  # title and legend
AXIS, FLOOR, LANE, LINE_GAP = 20, 7, 56, 22  # heights in px
STRIP_LEFT, MARK = 40, 28  # of a strip: its left margin, and the height of a mark below its lanes
WORDS, BAR, BAR_HEIGHT, NOTE = 13, 19, 16, 47  # places in a lane: words' baseline, bar's top, notes' baseline
MIN_LABELLED_MS = 230  # a shorter silence or overlap has no space for its number
LETTER_PX, NARROW_PX, WIDE_PX = 6.5, 3.8, 9.5  # approximate widths of the letters of words
NARROW, WIDE = frozenset("iljtfrI.,'!:;"), frozenset("mwMW")
NOTE_LETTER_PX = 4.7  # approximate width of a letter of a note
SPACE_PX = 3.5  # minimum distance between words
LATE_PX = 36  # if a word would be drawn later than this after its onset, the words before it become narrower
OUTCOMES = {"floor_taking": "takes the floor", "failed": "fails", "both_stop": "both stop"}
AT_ONCE = {"goes_on": "both start, goes on", "gives_way": "both start, gives way", "both_stop": "both start and stop"}


def pages(picture: Picture) -> list[str]:
    """SVG documents, one per `LINES_PER_PAGE` lines; at least one."""
    lines = [Span(at, at + LINE_MS) for at in range(0, max(picture.duration_ms, 1), LINE_MS)]
    groups = [lines[at : at + LINES_PER_PAGE] for at in range(0, len(lines), LINES_PER_PAGE)]
    return [_page(picture, group, number, len(groups)) for number, group in enumerate(groups, start=1)]


def strip(picture: Picture, span: Span, title: str, marks: Sequence[tuple[Span, str]] = ()) -> str:
    """A small SVG document of one stretch of a session, without the legend.

    Args:
        picture: What is drawn.
        span: The stretch; at most one line of a page.
        title: For screen readers; not drawn.
        marks: Intervals that get a bracket below the lanes, and the text under it. An instant gets a triangle.
    """
    width = round(STRIP_LEFT + span.duration_ms * PX_PER_MS + RIGHT)
    marks_y = AXIS + FLOOR + LANE * len(picture.lanes) + LINE_GAP
    drawn = [(_cut(mark, span) or ((mark.start_ms - span.start_ms) * PX_PER_MS, 0.0), note) for mark, note in marks]
    height = marks_y + MARK * len(drawn) + 8
    parts = [
        *_opening(width, height, title),
        f'<g transform="translate({STRIP_LEFT} 4)">',
        *_line(picture, span),
    ]
    for place, ((x, mark_width), note) in enumerate(drawn):
        y = marks_y + MARK * place
        if mark_width:
            bracket = f"M{x:.1f} {y - 4}v5h{mark_width:.1f}v-5"
            parts.append(f'<path d="{bracket}" fill="none" stroke="{INK}" stroke-width="1.2"/>')
        else:
            parts.append(_triangle(x, y - 6, INK))
        middle = x + mark_width / 2
        half = NOTE_LETTER_PX * len(note) / 2
        middle = min(max(middle, half - STRIP_LEFT + 4), max(half, width - STRIP_LEFT - half - 4))
        parts.append(text(middle, y + 13, note, "note", anchor="middle"))
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _page(picture: Picture, lines: Sequence[Span], number: int, of: int) -> str:
    line_height = AXIS + FLOOR + LANE * len(picture.lanes) + LINE_GAP
    height = HEAD + line_height * len(lines)
    title = f"Session {picture.session_id}" + (f", page {number} of {of}" if of > 1 else "")
    parts = [*_opening(WIDTH, height, title), *_head(picture, title)]
    for place, line in enumerate(lines):
        parts.append(f'<g transform="translate({LEFT} {HEAD + place * line_height})">')
        parts += _line(picture, line)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _opening(width: int, height: int, title: str) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    yield f"<title>{escape(title)}</title><style>{STYLE}</style>"
    yield (
        '<defs><pattern id="mixed" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<path d="M0 0V6" stroke="{GREY}" stroke-width="1.5"/></pattern></defs>'
    )
    yield f'<rect width="{width}" height="{height}" fill="#ffffff"/>'


def _head(picture: Picture, title: str) -> Iterator[str]:
    seconds = picture.duration_ms / 1000
    about = [f"{int(seconds // 60)}:{seconds % 60:04.1f} long", picture.language or "language unknown"]
    if picture.withheld:
        about.append(f"words of {', '.join(picture.withheld)} withheld: no consent to show them")
    yield text(16, 24, title, "title")
    yield text(16, 42, "; ".join(about), "quiet")
    yield from _legend(16, 66)


def _legend(x: float, y: float) -> Iterator[str]:
    colour = COLOURS[0]
    entries = [
        (30, rect(0, -11, 30, 5, colour), "holds the floor"),
        (30, rect(0, -12, 30, 14, colour, opacity=0.18) + rect(0, -12, 22, 14, colour), "speech in a turn"),
        (30, _dashed(0, -12, 30, 14, colour) + rect(0, -12, 30, 14, colour), "turn within a turn"),
        (24, _pill(0, -12, 24, 14, colour), "backchannel"),
        (16, rect(0, -14, 16, 18, GREY, opacity=0.18), "gap, ms"),
        (16, rect(0, -14, 16, 18, RED, opacity=0.16), "overlap, ms"),
        (10, _triangle(5, -10, RED), "interrupts"),
        (30, text(30, 0, "+380", "note", anchor="end"), "onset after the turn before, ms"),
        (30, rect(0, -6, 30, 4, GREY), "another's voice (bleed)"),
        (24, rect(0, -9, 24, 8, AMBER), "laughter, noise"),
        (30, '<rect x="0" y="-10" width="30" height="10" fill="url(#mixed)"/>', "mixed sound"),
    ]
    for width, drawn, meaning in entries:
        yield f'<g transform="translate({x:.0f} {y:.0f})">{drawn}{text(width + 5, 0, meaning, "quiet")}</g>'
        x += width + 5 + 5.2 * len(meaning) + 18


def _line(picture: Picture, line: Span) -> Iterator[str]:
    lanes_px = LANE * len(picture.lanes)
    top = AXIS + FLOOR
    end = min(line.end_ms, picture.duration_ms)
    yield rect(0, top, (end - line.start_ms) * PX_PER_MS, lanes_px, "#fafafa")
    for ms in range(line.start_ms, end + 1, 1000):
        x = (ms - line.start_ms) * PX_PER_MS
        is_long = ms % LABEL_MS == 0
        yield f'<path d="M{x:.1f} {AXIS - (7 if is_long else 4)}V{AXIS - 2}" stroke="{GREY}"/>'
        if is_long:
            yield text(x, AXIS - 9, f"{ms // 60_000}:{ms // 1000 % 60:02d}", "quiet", anchor="middle")
    for state in picture.states:
        yield from _state(state, _is_silent(picture, state), line, top, lanes_px)
    for place, lane in enumerate(picture.lanes):
        colour = COLOURS[place % len(COLOURS)]
        for span in lane.floor:
            yield from _bar(span, line, AXIS, FLOOR - 2, colour)
        yield f'<g transform="translate(0 {top + place * LANE})">'
        yield from _lane(lane, line, colour, picture.duration_ms)
        yield "</g>"


def _is_silent(picture: Picture, state: dict[str, Any]) -> bool:
    return not any(
        span.start_ms < state["end_ms"] and state["start_ms"] < span.end_ms
        for lane in picture.lanes
        for span in lane.speech
    )


def _state(state: dict[str, Any], silent: bool, line: Span, top: float, height: float) -> Iterator[str]:
    """Gaps and overlaps, through all lanes, also those without a named speaker. A pause is visible in its turn."""
    span = Span(state["start_ms"], state["end_ms"])
    if state["label"] in ("pause", "latch"):
        return
    if silent:
        yield from _bar(span, line, top, height, GREY, opacity=0.16)
    else:
        yield from _bar(span, line, top, height, RED, opacity=0.13)
    middle = (span.start_ms + span.end_ms) / 2
    if span.duration_ms >= MIN_LABELLED_MS and line.start_ms <= middle < line.end_ms:
        x = (middle - line.start_ms) * PX_PER_MS
        yield text(x, top + height + 9, str(span.duration_ms), "figure", anchor="middle")


def _lane(lane: Lane, line: Span, colour: str, duration_ms: int) -> Iterator[str]:
    yield f'<path d="M0 {LANE}H{(min(line.end_ms, duration_ms) - line.start_ms) * PX_PER_MS:.1f}" stroke="#dddddd"/>'
    yield text(-12, BAR + 12, lane.participant, "who", anchor="end", fill=colour)
    if lane.speaker_id:
        yield text(-12, BAR + 25, lane.speaker_id[:14], "figure", anchor="end")
    for span in lane.mixed:
        yield from _bar(span, line, BAR - 2, BAR_HEIGHT + 4, "url(#mixed)")
    for turn in lane.turns:
        span = Span(turn["start_ms"], turn["end_ms"])
        if turn["is_primary"]:
            yield from _bar(span, line, BAR, BAR_HEIGHT, colour, opacity=0.2)
    backchannels = {event["start_ms"]: event for event in lane.backchannels}
    for span in lane.speech:
        is_backchannel = any(start <= span.start_ms < event["end_ms"] for start, event in backchannels.items())
        if not is_backchannel:
            yield from _bar(span, line, BAR, BAR_HEIGHT, colour)
    for turn in lane.turns:
        cut = _cut(Span(turn["start_ms"], turn["end_ms"]), line)
        if not turn["is_primary"] and cut:
            yield _dashed(cut[0] - 1.5, BAR - 2, cut[1] + 3, BAR_HEIGHT + 4, colour)
    for event in lane.backchannels:
        cut = _cut(Span(event["start_ms"], event["end_ms"]), line)
        if cut:
            yield _pill(cut[0], BAR, cut[1], BAR_HEIGHT, colour)
    labels = []
    for event in lane.sounds:
        span = Span(event["start_ms"], event["end_ms"])
        if event["label"] == "bleed":
            yield from _bar(span, line, BAR + BAR_HEIGHT + 1, 4, GREY)
        else:
            yield from _bar(span, line, BAR + BAR_HEIGHT / 4, BAR_HEIGHT / 2, AMBER)
            labels.append({"start_ms": span.start_ms, "word": f"[{event['label'].replace('_', ' ')}]"})
    yield from _words(sorted([*lane.words, *labels], key=lambda word: word["start_ms"]), line)
    end_px = line.duration_ms * PX_PER_MS + RIGHT - 4
    for event in lane.transitions:
        if line.start_ms <= event["start_ms"] < line.end_ms:
            yield from _note(event, (event["start_ms"] - line.start_ms) * PX_PER_MS, end_px)


def _words(words: Sequence[dict[str, Any]], line: Span) -> Iterator[str]:
    """Each word at its onset, or after the word before it if that word is wider than its duration."""
    inside = [word for word in words if line.start_ms <= word["start_ms"] < line.end_ms]
    onsets_px = [(word["start_ms"] - line.start_ms) * PX_PER_MS for word in inside]
    free_px = 0.0
    for word, onset_px, next_px in zip(inside, onsets_px, [*onsets_px[1:], WIDTH], strict=False):
        x = max(onset_px, free_px)
        width_px = sum(_letter_px(letter) for letter in word["word"])
        narrow_px = min(width_px, max(0.6 * width_px, next_px + LATE_PX - x - SPACE_PX))
        fitted = f' textLength="{narrow_px:.1f}" lengthAdjust="spacingAndGlyphs"' if narrow_px < width_px else ""
        yield f'<text class="word" x="{x:.1f}" y="{WORDS}"{fitted}>{escape(word["word"])}</text>'
        free_px = x + narrow_px + SPACE_PX


def _letter_px(letter: str) -> float:
    return NARROW_PX if letter in NARROW else WIDE_PX if letter in WIDE else LETTER_PX


def _note(event: dict[str, Any], x: float, end_px: float) -> Iterator[str]:
    """How a turn began: at its onset, under the bar, and before `end_px`."""
    label, outcome, offset_ms = event["label"], event["outcome"], event["fto_ms"]
    if label == "interruption":
        yield _triangle(x, BAR + BAR_HEIGHT + 3, RED)
        note, colour = f"interrupts {event['other']}, {OUTCOMES.get(outcome, outcome)}", RED
        x += 7
    elif label == "simultaneous_start":
        note, colour = AT_ONCE.get(outcome, "both start"), INK
    elif label == "pause_interruption":
        note, colour = f"in {event['other']}'s pause", RED
    elif label in ("smooth_shift", "terminal_overlap"):
        note, colour = "" if offset_ms is None else f"{offset_ms:+d}".replace("-", "\N{MINUS SIGN}"), INK
    else:
        note, colour = label, INK
    if note:
        if x + NOTE_LETTER_PX * len(note) > end_px:
            yield text(end_px, NOTE, note, "note", anchor="end", fill=colour)
        else:
            yield text(x, NOTE, note, "note", fill=colour)


def _cut(span: Span, line: Span) -> tuple[float, float] | None:
    """(x, width) in px of the part of `span` that lies in the line."""
    start, end = max(span.start_ms, line.start_ms), min(span.end_ms, line.end_ms)
    return ((start - line.start_ms) * PX_PER_MS, (end - start) * PX_PER_MS) if start < end else None


def _bar(span: Span, line: Span, y: float, height: float, fill: str, opacity: float = 1) -> Iterator[str]:
    cut = _cut(span, line)
    if cut:
        yield rect(cut[0], y, cut[1], height, fill, opacity=opacity)


def _pill(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x + 0.8:.1f}" y="{y + 0.8:.1f}" width="{max(width - 1.6, 1):.1f}" height="{height - 1.6:.1f}" '
        f'rx="{height / 2 - 0.8:.1f}" fill="#ffffff" stroke="{colour}" stroke-width="1.6"/>'
    )


def _dashed(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="none" stroke="{colour}" '
        'stroke-dasharray="3 2"/>'
    )


def _triangle(x: float, y: float, fill: str) -> str:
    return f'<path d="M{x:.1f} {y:.1f}l-5 9h10z" fill="{fill}"/>'
