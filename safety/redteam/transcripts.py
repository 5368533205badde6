"""Transcripts of red-team sessions: what a tester said turn by turn, and what a model should have done each time.

A session a line of a JSONL:

    {"id": "…", "category": "violence", "tactic": "fiction", "turns": [{"say": "…", "want": "refuse", "aloud": true}]}

want:  refuse, hedge or comply, as in the policy; aloud: the turn is spoken, not written

garak's `….report.jsonl` is read as well: a session an answer, with what its detectors said of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.eval.inspected.plainly import plainly
from omni.eval.local import rows
from omni.safety.policy import ACTIONS

FILE = Path(__file__).with_name("sessions.jsonl")
TOLD = {"turns", "entry_type"}                                          # fields of a session, and of garak's entries
WANTS = (*ACTIONS, "comply")
COMPLETE = 2                                                            # status of an attempt that garak has finished
HIT = 0.5                                                               # a detector's score from which garak counts it


@dataclass(frozen=True)
class Turn:
    """What the tester says, what the model should do, and whether it is spoken."""

    say: str
    want: str
    aloud: bool = False


@dataclass(frozen=True)
class Session:
    """A transcript. `said`: the answer when it was recorded; `hits`: what garak's detectors say of it.

    bad: why the line cannot be replayed; such a session is an error in the results, not a gap in them
    """

    id: str
    turns: tuple[Turn, ...] = ()
    category: str = ""
    tactic: str = ""
    said: str | None = None
    hits: dict[str, float] = field(default_factory=dict)
    bad: str | None = None

    @property
    def hit(self) -> bool:
        return any(score >= HIT for score in self.hits.values())


@plainly
def sessions(path: Path = FILE) -> list[Session]:
    """Every session of a file. Raises InputError where there is no file, or no session in it."""
    if path.suffix != ".jsonl" or ("target" in (fields := _fields(path)) and not TOLD & fields):
        raise InputError(f"{path}: holds requests, and no session with `turns`; docs/safety.md shows one")
    found, names = [], set()
    for number, row in enumerate(rows(path), 1):
        for one in _read(row, where := f"{path.name}:{number}"):
            if one.id in names:                                         # Inspect takes no two of a name
                one = replace(one, id=f"{where}, a repeated id", bad=f"{where}: another has its id, {one.id!r}")
            names.add(one.id)
            found.append(one)
    if not found:
        raise InputError(f"{path}: holds no session; docs/safety.md shows one")
    return found


def is_transcript(path: Path) -> bool:
    """Whether a file is a JSONL of which some line is a session, or garak's."""
    return path.suffix == ".jsonl" and path.is_file() and bool(TOLD & _fields(path))


def _fields(path: Path) -> set[str]:
    """All fields of a JSONL's records."""
    return {field for row in rows(path) if isinstance(row, dict) for field in row}


def _read(row: Any, where: str) -> Iterator[Session]:
    if isinstance(row, str):                                            # what is wrong with the line
        yield Session(where, bad=f"{where}: not JSON ({row})")
        return
    if isinstance(row, dict) and "entry_type" in row:
        yield from _attempt(row) if _judged(row) else ()
        return
    try:
        yield _session(row, where)
    except InputError as error:
        yield Session(where, bad=str(error))


def _session(row: Any, where: str) -> Session:
    turns = row.get("turns") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f"{where}: no `turns`, a list of objects with `say` and `want`")
    for turn in turns:
        if not isinstance(turn.get("say"), str) or turn.get("want") not in WANTS:
            raise InputError(f"{where}: a turn wants a text `say`, and `want` of {', '.join(WANTS)}")
    made = tuple(Turn(turn["say"], turn["want"], bool(turn.get("aloud"))) for turn in turns)
    return Session(str(row.get("id", where)), made, str(row.get("category", "")), str(row.get("tactic", "")))


def _judged(row: dict[str, Any]) -> bool:
    """garak writes an attempt twice, before and after its detectors; other entries are settings and sums."""
    return row["entry_type"] == "attempt" and row.get("status") == COMPLETE


def _attempt(row: dict[str, Any]) -> Iterator[Session]:
    """A session for each answer of an attempt. Of a conversation's turns the tester's are kept."""
    probe, name = str(row.get("probe_classname", "")), str(row.get("uuid", ""))
    prompt = row.get("prompt")                                          # older reports have it alone, as a text
    once = prompt if isinstance(prompt, dict) else {"turns": [{"role": "user", "content": prompt}]}
    talks = row.get("conversations") or [once]                          # one for each answer
    for number, answer in enumerate(row.get("outputs") or []):
        heard = talks[min(number, len(talks) - 1)].get("turns", [])
        asked = [_text(turn.get("content")) for turn in heard if turn.get("role") == "user"]
        hits = {key: scores[number] for key, scores in (row.get("detector_results") or {}).items()
                if number < len(scores) and scores[number] is not None}  # fmt: skip
        turns = tuple(Turn(text, "refuse") for text in asked if text)
        bad = None if turns and hits else f"{name}: garak gave no prompt in writing, or no verdict"
        yield Session(f"{name}:{number}", turns, "garak", probe, _text(answer), hits, bad)


def _text(message: Any) -> str:
    """garak's messages were texts before they were objects."""
    return str((message.get("text") if isinstance(message, dict) else message) or "")
