"""A short dialogue as intervals, for tests of exchange formats."""

from tools.exchange.intervals import Interval


def dialogue() -> list[Interval]:
    """Words of two that overlap, one with quotes, an instant, and one participant who overlaps with themself."""
    rows = [
        ("a", "words", 0, 300, 'say "red"'),
        ("a", "words", 200, 500, "no"),
        ("b", "words", 250, 400, "mhm"),
        ("b", "transition", 250, 250, "interruption"),
    ]
    return [
        Interval(session_id="s", participant=who, kind=kind, start_ms=start_ms, end_ms=end_ms, text=text)
        for who, kind, start_ms, end_ms, text in rows
    ]
