"""How long a transcript may become, so that none ends before what was said, and what is told where there is no room
for that. One that reaches that length loops, and stands as it is: more of it would say no more.
"""

TOKENS_A_SECOND = 32                                                    # fast speech has some 20 letters
LEAST = 64                                                              # that one of a short turn may have
CUT = "the transcript ends before the recording, which is too long for this model; send it in pieces"


def most_tokens(seconds: float) -> int:
    """Of the transcript of so much speech."""
    return max(LEAST, int(TOKENS_A_SECOND * seconds))
