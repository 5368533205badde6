"""How long a transcript may become, so that none ends before what was said, and what is told where there is no room
for that. One that reaches that length loops, and stands as it is: more of it would say no more.

And how much of an answer's text its sound has come to.
"""

TOKENS_A_SECOND = 16                                                    # fast speech has some 10
LEAST = 64                                                              # that one of a short turn may have
LETTERS_A_SECOND = 16                                                   # that omni-tiny speaks: docs/live.md
CUT = "the transcript ends before the recording, which is too long for this model; send it in pieces"


def most_tokens(seconds: float) -> int:
    """Of the transcript of so much speech."""
    return max(LEAST, int(TOKENS_A_SECOND * seconds))


def least_seconds(text: str) -> float:
    """That speech of this text takes, about."""
    return len(text) / LETTERS_A_SECOND


def spoken(text: str, share: float) -> str:
    """The words that lie wholly within this share of the letters."""
    if share >= 1:
        return text
    limit, kept = share * len(text), text[: int(share * len(text))]
    if limit < len(text) and not text[int(limit)].isspace() and " " in text:
        kept = kept[: kept.rfind(" ") + 1]
    return kept.rstrip()
