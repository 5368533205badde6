"""A rank that hangs ends the job instead of a month of cluster time."""

import faulthandler
import os
import signal
from types import TracebackType

STDERR = 2                                                              # the descriptor: writing needs no Python


class Watchdog:
    """Ends this process, with the stacks of all its threads on stderr, when no step is done for `seconds`.

    The clock is a thread outside of Python, so a rank that waits inside a collective is noticed too. On SIGUSR1 the
    stacks are printed and the process goes on: the launcher asks for those of the other ranks so. Ctrl-Z suspends the
    clock with the process.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> "Watchdog":
        faulthandler.register(signal.SIGUSR1, file=STDERR, all_threads=True)
        self.before = signal.signal(signal.SIGTSTP, self._suspend)
        self.beat()
        return self

    def beat(self) -> None:
        """A step is done: the time begins anew."""
        if self.seconds:
            faulthandler.dump_traceback_later(self.seconds, exit=True, file=STDERR)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGTSTP, self.before)

    def _suspend(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        os.kill(os.getpid(), signal.SIGSTOP)                            # returns when the process goes on
        self.beat()
