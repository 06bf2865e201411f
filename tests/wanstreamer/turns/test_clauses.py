"""Where a clause can end: each kind of clause both ways, a clause that is over and one that goes on."""

import pytest

from wanstreamer.turns.clauses import can_end

# Kind of clause -> clauses that can end there, and clauses of the same last word that go on.
KINDS = {
    "determiner": ((), ("over the top of the", "it is a", "to your", "every")),
    "content word": (("go down to the mill", "over there", "it is red"), ()),
    "question with its preposition at the end": (
        (
            "what are you looking for",
            "where are you from",
            "who did you go with",
            "so what is it like",
            "what's that about",
            "okay which one did you come from",
            "what for",
            "where to",
        ),
        (
            "so you look for",
            "then you come from",
            "you go with",
            "and it is like",
            "when do you go to",
            "how far is it to",
            "what's at",
            "what is to",
        ),
    ),
    "relative clause": (
        ("the one which you came from", "the road you're on", "everything i asked for", "all i can think of"),
        ("you come from", "at the top you're on", "what you do is go to", "when you go to"),
    ),
    "infinitive": (("nothing to worry about", "there's something to sit on"), ("you have to go to", "then to sit at")),
    "adverb that looks like a preposition": (
        ("come on", "from now on", "turn it on", "fill it in", "well kind of"),
        ("it depends on", "further in the mill with"),
    ),
    "passive": (("it's been dealt with", "they were looked after"), ("you dealt with", "you looked at")),
    "infinitive left out": (
        ("if you want to", "you don't have to", "yeah i'd like to", "i'd love to"),
        ("you want to", "and then we're going to", "what do you want to", "i had to"),
    ),
    "this and that": (
        (
            "what do you need to do this",
            "go through this",
            "like that",
            "do you see that",
            "what is that",
            "is it his",
            "i told her",
        ),
        ("and this", "i think that", "so that", "the one that", "and her"),
    ),
    "answer": (
        ("yes i am", "no it isn't", "i do", "it is", "yeah we can", "it could be", "that'll do"),
        ("and then i am", "the mill is", "do you have", "then you can", "go round it and you will"),
    ),
    "embedded question": (
        ("that is where i am", "i know who you are", "how old they were", "what do you do", "where should it be"),
        ("what is", "where are", "what you do is", "what can"),
    ),
    "embedded statement": (("i think he did", "i hope it is", "here i am"), ("and he might", "then it is")),
    "comparison": (("higher than it was", "as far as you can"), ("it's higher than", "as far as")),
    "relative clause before a verb": (
        ("it's all i have", "that's the way it is", "that's all there is"),
        ("the thing is", "the way is"),
    ),
    "subject after its verb": (
        ("so do i", "aren't they", "taller than i"),
        ("and then we", "where do i", "what can they", "they"),
    ),
    "short verb": ((), ("it's", "and you're", "i think he'll", "where's")),
    "conjunction": (
        ("is it to the left or", "i think so", "or so", "i had to go round it so", "just because"),
        ("to the left or", "okay so", "so", "and", "we went there but", "because", "go there if"),
    ),
    "which": (("i'm not sure which", "with who", "who"), ("the mill which", "the man who")),
    "very": (("not very", "no not very"), ("it's very", "you're just")),
}


def ends(text: str) -> bool:
    return can_end(text.split())


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_the_clause_decides_whether_it_can_end(kind: str) -> None:
    over, going_on = KINDS[kind]
    assert [text for text in over if not ends(text)] == []
    assert [text for text in going_on if ends(text)] == []


def test_only_the_last_clause_counts() -> None:
    """A question before "okay so" leaves no place in the clause after it, and "right" in "to the right" ends none."""
    assert not ends("what do you see okay so you go to")
    assert ends("what is to the right of the mill you came from")
    assert not ends("where is it and you go to")
    assert ends(f"what are you {'really ' * 8} looking for")
    assert not ends(f"what are you {'hm ' * 40} for")
