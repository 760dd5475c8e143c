"""Chords whose members run in this process: counted many at a time, and ended beside the loop."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from umbel.app import outbox
from umbel.app.outbox import Outgoing
from umbel.app.outcome import TaskOutcome
from umbel.canvas import follow_up
from umbel.model import current, states
from umbel.model.brief import brief
from umbel.model.exceptions import ChordError
from umbel.worker.held import Held
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.backend import ChordPart

logger = logging.getLogger("umbel.worker.settling")

PARTS = "chord_parts"
"""In a job's context, the list for what is counted of its task; see ``follow_up.settle_chord``."""


@dataclass(slots=True, eq=False)
class Member:
    """A member of a chord's header that has ended.

    Attributes:
        held: its task.
        outcome: what its task came to.
        part: what is counted of it.
        request: its task's.
        outgoing: what follows from the chord, once it is made.
        error: why that could not be made now.
    """

    held: Held
    outcome: TaskOutcome
    part: ChordPart
    request: Any
    outgoing: list[Outgoing] = field(default_factory=list)
    error: OperationalError | None = None


class Chords:
    """Members of chords from when they have ended until all is done that follows.

    What follows from a complete header is made in a thread: nothing that a user's errback or signal handler does there
    holds up the loop, and no long task holds up the end of a chord.

    Args:
        app: the app.

    Attributes:
        wake: called from a thread when the ends of some are made.
        under_way: those whose chords' ends are being made.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.wake: Callable[[], None] = _nobody
        self.under_way: list[Member] = []
        self._members: list[Member] = []
        self._complete: list[Member] = []
        self._made: deque[Member] = deque()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._members) + len(self._complete) + len(self.under_way)

    @property
    def waiting(self) -> bool:
        """Whether there is something for the store."""
        return bool(self._members or self._complete)

    @property
    def held(self) -> list[Held]:
        """All of them; safe to read from any thread."""
        return [each.held for each in (*list(self._members), *list(self._complete), *list(self.under_way))]

    def add(self, held: Held, outcome: TaskOutcome) -> bool:
        """Note a task that has ended. Returns whether it is a member of a chord."""
        parts = held.job.context.get(PARTS)
        if not parts:
            return False
        held.job.context[PARTS] = []
        # Two are of one that has ended well, and then could not be stored.
        part, request = parts[-1]
        self._members.append(Member(held, outcome, part, request))
        return True

    def lose(self, gone: Callable[[Held], bool], *, refuse: bool) -> list[Member]:
        """Forget the messages of those whose hold is gone.

        Args:
            refuse: also forget those that are not counted yet.

        Returns:
            Those that it has forgotten.
        """
        lost = [held for held in self.held if not held.acked and gone(held)]
        for held in lost:
            held.delivery, held.refused = None, refuse
        dropped = [member for member in self._members if refuse and member.held in lost]
        self._members = [member for member in self._members if member not in dropped]
        return dropped

    def count(self, failed: Callable[[Member, Exception], None]) -> list[Member]:
        """Count members, all in one trip where the store refuses none.

        Args:
            failed: called for each that is refused. It then counts as failed.

        Returns:
            Those that end no chord.

        Raises:
            OperationalError: the store is away; all are kept.
        """
        members = self._members
        if not members:
            return []
        try:
            told = self._app.backend.count_parts([member.part for member in members])
        except OperationalError:
            raise
        except Exception as error:
            logger.debug("the store refuses a batch of %d members, so each goes alone: %s", len(members), error)
            told = [self._count_one(member, failed) for member in members]
        self._members = []
        self._complete += [member for member, mine in zip(members, told, strict=True) if mine]
        return [member for member, mine in zip(members, told, strict=True) if not mine]

    def _count_one(self, member: Member, failed: Callable[[Member, Exception], None]) -> bool:
        try:
            return bool(self._app.backend.count_parts([member.part])[0])
        except OperationalError:
            raise
        except Exception as error:
            task_id = member.part.task_id
            logger.error("what task %s came to cannot be counted for its chord: %s", task_id, brief(error))
            failed(member, error)
            try:
                part = follow_up.part_of(self._app, member.request, states.FAILURE, error, member.part.run)
                member.part = part or member.part
                return bool(self._app.backend.count_parts([member.part])[0])
            except OperationalError:
                raise
            except Exception as again:
                logger.error("nor can the store count that task %s has failed: %s", task_id, brief(again))
                return False

    def end(self) -> None:
        """Begin to make what follows from the chords that are complete."""
        if self._complete:
            complete, self._complete = self._complete, []
            self.under_way += complete
            self._thread = threading.Thread(target=self._make, args=(complete,), name="umbel-chord", daemon=True)
            self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the ends that are under way. Returns whether ``take`` brings any that could be made."""
        if self._thread is not None:
            self._thread.join(timeout)
        return any(member.error is None for member in list(self._made))

    def take(self) -> list[Member]:
        """Those whose chords' ends are made since the last call, or could not be made, which ``end`` tries again."""
        made = [self._made.popleft() for _ in range(len(self._made))]
        gone = set(map(id, made))
        self.under_way = [each for each in self.under_way if id(each) not in gone]
        self._complete += [member for member in made if member.error is not None]
        return made

    def _make(self, members: Sequence[Member]) -> None:
        self._app.set_current()
        for member in members:
            member.error = None
            try:
                member.outgoing = self._follow(member)
            except OperationalError as error:
                member.error = error
            except Exception:
                logger.exception("what follows from the chord of group %s is lost", member.part.group_id)
            self._made.append(member)
        self.wake()

    def _follow(self, member: Member) -> list[Outgoing]:
        """The messages that follow from a chord."""
        app, request, part = self._app, member.request, member.part
        token = current.push_task(app.tasks[member.held.name], request)
        try:
            with outbox.gathering() as gathered:
                try:
                    follow_up.end_chord(app, request, part)
                except OperationalError:
                    raise
                except Exception as error:
                    logger.exception("the body of the chord of group %s could not be sent", part.group_id)
                    failed = ChordError(f"the body could not be sent: {brief(error, 500)}")
                    failed.__cause__ = error
                    follow_up.fail_body(app, request.chord, failed)
        finally:
            current.pop_task(token)
        return gathered


def _nobody() -> None:
    """Nobody is to be woken."""
