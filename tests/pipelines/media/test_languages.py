"""Which tags name one language."""

from pipelines.media.languages import same_language


def test_languages_are_told_by_their_first_part() -> None:
    for tag, other_tag in (
        ("en", "eng"),
        ("en-GB", "eng"),
        ("de", "ger"),
        ("de", "deu"),
        ("zh-Hans", "chi"),
        ("cy", "wel"),
    ):
        assert same_language(tag, other_tag) and same_language(other_tag, tag)
    for tag, other_tag in (("en", "ger"), ("en", "und"), (None, None), ("und", "und"), ("", "eng")):
        assert not same_language(tag, other_tag)
