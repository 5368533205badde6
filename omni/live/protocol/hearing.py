"""The user's side of a session: what the microphone hears, and the turns that it makes."""

from collections.abc import Callable

from omni.errors import InputError
from omni.live.engine import messages
from omni.live.engine.pool import Line
from omni.live.hearing.microphone import Microphone, milliseconds
from omni.live.hearing.pcm import RATE, Wave
from omni.live.hearing.turns import Change
from omni.live.protocol import events, items
from omni.live.protocol.events import Event, RefusedError, server
from omni.live.protocol.history import History
from omni.live.protocol.settings import Settings
from omni.live.protocol.speaking import Speaking
from omni.live.protocol.transcripts import Transcripts


class Hearing:
    """Turns of one session's user; what is said in one becomes an item, and is answered.

    settings: what the session is set to; the session changes them
    """

    def __init__(
        self, line: Line, send: Callable[[Event], None], settings: Settings, history: History, speaking: Speaking,
        transcripts: Transcripts,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._line, self._send, self._items = line, send, history
        self._speaking, self._transcripts = speaking, transcripts
        self._due = False                                               # a response is owed once the current one ends
        self._turn = events.fresh("item")                               # what the user is saying will be this item
        self._judged = 0                                                # how often the model was asked for its word
        self._microphone = Microphone(settings.input_format, settings.rules, line.facts.sample_rate)

    @property
    def heard(self) -> float:
        """Seconds of sound that came in."""
        return self._microphone.heard / RATE

    def append(self, sound: str) -> None:
        """More sound, base64. Raises RefusedError for what is none."""
        speaking = self._microphone.speaking or self._microphone.turns is None
        try:
            wave, changes = self._microphone.hear(sound)
        except InputError as error:
            raise RefusedError(str(error), param="audio") from None
        if speaking:
            self._tell_model(wave)
        for change in changes:
            self._change(change)
        self._idle()

    def commit(self) -> None:
        """The client ends the turn. Raises RefusedError where nothing was heard."""
        microphone = self._microphone
        if microphone.heard == microphone.since:
            raise RefusedError("the input audio buffer is empty; append audio first", "input_audio_buffer_commit_empty")
        if microphone.turns is not None and not microphone.speaking:
            self._tell_model(microphone.from_sample(microphone.since))
        self._speaking.drop_draft()
        self._end_turn(respond=False)

    def judged(self, message: messages.Judged) -> None:
        """How probable it is that the user has ended, if that is still the question."""
        if message.number == self._judged and self._microphone.turns is not None:
            self._microphone.turns.ended = message.ended

    def give_due(self) -> None:
        """Begin the answer that is owed, once no other is being given."""
        if self._due and self._speaking.current is None:
            self._due = False
            self._speaking.ask(self.settings)

    def listen(self) -> None:
        """Begin to listen afresh; what was half said is forgotten."""
        self._line.tell(messages.Unhear(self._line.name))
        encoding, rules, heard = self.settings.input_format, self.settings.rules, self._microphone.heard
        self._microphone = Microphone(encoding, rules, self._line.facts.sample_rate, heard)

    # ----

    def _change(self, change: Change) -> None:
        if change.kind == "started":
            self._begin_turn(change.at)
        elif change.kind == "paused":
            self._speculate()
        elif change.kind == "resumed":
            self._speaking.drop_draft()
        else:
            self._end_turn(respond=True, at=change.at)

    def _begin_turn(self, at: int) -> None:
        start = self._microphone.begin(at)
        self._send(server("input_audio_buffer.speech_started", audio_start_ms=milliseconds(start), item_id=self._turn))
        if self.settings.interrupted:
            self._speaking.interrupt()
        self._tell_model(self._microphone.from_sample(start))

    def _speculate(self) -> None:
        """The user pauses: begin an answer in case that was all, and let the model judge where it is in doubt."""
        if self.settings.answers_turns and self._speaking.current is None:
            self._speaking.draw_up(self.settings, self._turn)
        if (turns := self._microphone.turns) is not None and turns.doubtful:
            self._judged += 1
            self._line.tell(messages.Judge(self._line.name, self._judged))

    def _end_turn(self, respond: bool, at: int | None = None) -> None:
        """What the user said is an item now; `respond`: and is to be answered, as far as the client wants that."""
        name, self._turn = self._turn, events.fresh("item")
        self._speaking.finished = None                                  # no silence counts before the next answer
        if at is not None:
            self._send(server("input_audio_buffer.speech_stopped", audio_end_ms=milliseconds(at), item_id=name))
        draft = self._speaking.keep_draft()
        if draft is None:
            self._line.tell(messages.Commit(self._line.name, name))
        self._send(server("input_audio_buffer.committed", item_id=name, previous_item_id=self._items.last))
        self._items.tell(items.user_audio(name), None, self._send)
        self._microphone.empty(at)
        minded = self.settings.answers and self._speaking.asked.spoke(name)
        if draft is not None:
            self._speaking.begin(draft)
        elif respond and self.settings.answers_turns:
            if self._speaking.current is None:
                self._speaking.ask(self.settings)
            else:
                self._due = True
        self._transcripts.order(name, self.settings, minded)

    def _idle(self) -> None:
        """Nobody says anything any more: speak to the user, where the client wants that."""
        microphone, rules, quiet = self._microphone, self.settings.rules, self._speaking.quiet_for()
        if rules is None or rules.idle_ms is None or quiet is None or microphone.speaking:
            return
        if quiet > rules.idle_ms / 1000:
            start = max(microphone.since, microphone.heard - rules.idle_ms * RATE // 1000)
            span = {"audio_start_ms": milliseconds(start), "audio_end_ms": milliseconds(microphone.heard)}
            self._send(server("input_audio_buffer.timeout_triggered", **span, item_id=self._turn))
            self._tell_model(microphone.from_sample(start))
            self._end_turn(respond=True)

    def _tell_model(self, wave: Wave) -> None:
        self._line.tell(messages.Hear(self._line.name, self._microphone.to_model(wave)))
