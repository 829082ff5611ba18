"""Runs on several servers: which of them start now, and when the run is over.

The cursor moves first, then the starts behind it are sent: so what lies beyond it
when a run is stopped was never sent, and cannot start. A start that was not sent
after all, or got lost, is found missing by the check of the run and sent again.
Who finishes a target records its outcome, and then lets follow what may.
"""

from __future__ import annotations

import secrets as tokens
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from cronhop.aws.queue import Queue
from cronhop.domain.message import MAX_HOPS, Message, MessageKind
from cronhop.domain.rollout import (
    CANCELLED,
    Progress,
    Rollout,
    next_sent,
    stop_reason,
    verdict,
)
from cronhop.domain.run import Execution, Run
from cronhop.domain.task import TaskDefinition
from cronhop.observe import log
from cronhop.services.end import end_run
from cronhop.services.plan import CHECK_AFTER
from cronhop.store import executions, fleets, runs, tasks

STEP = 100  # starts behind one move of the cursor
STEPS = 5  # in one invocation; then a message goes on
LOOK = 500  # targets that one message looks after
CHECK_SELDOM = timedelta(minutes=10)  # a run that goes on for long


class FanOut:
    """Takes runs over their servers.

    `now` is the clock.
    """

    def __init__(self, queue: Queue, *, now: Callable[[], datetime]) -> None:
        self._queue = queue
        self._now = now

    def is_target(self, run: Run, message: Message) -> bool:
        """Return whether the run shall be on the message's server by now."""
        server_id, position = message.server_id or "", message.position
        if run.fleet is None:
            return server_id in run.targets
        if position is None:
            return executions.get(run.run_id, server_id) is not None
        if fleets.targets(run, position, position + 1) != [server_id]:
            return False
        return position < fleets.progress(run).sent

    def go_on(self, run: Run, message: Message) -> None:
        """Start the targets whose turn it is."""
        self._advance(run, _definition(run), fleets.progress(run), message.hops)

    def ended(
        self,
        run: Run,
        definition: TaskDefinition | None,
        execution: Execution,
        hops: int,
    ) -> None:
        """Record that a target has ended, and let follow what may; repeatable."""
        if execution.position is not None:
            progress = fleets.end_target(
                run, execution.position, execution.state, now=self._now()
            )
            self._advance(run, definition, progress, hops)

    def look_after(self, run: Run, message: Message) -> None:
        """Let every target get on that is to be started, or to be ended.

        1. one that has ended without anybody recording it is recorded
        2. one that nobody has claimed is sent again; if the run is to be cancelled,
           all are told that were not
        3. what may follow does

        So many at a time; a message goes on with the others.
        """
        progress = fleets.progress(run)
        first = message.position or 0
        under_way = [one for one in progress.under_way() if one >= first]
        calls = []
        for position, server_id, execution in _found(run, under_way[:LOOK]):
            if execution and execution.state.is_terminal:
                progress = fleets.end_target(
                    run, position, execution.state, now=self._now()
                )
            elif run.cancel_by and not is_told(execution):
                calls.append(_call(run, MessageKind.CANCEL, position, server_id))
            elif execution is None:
                calls.append(_call(run, MessageKind.START, position, server_id))
        self._send(calls)
        if len(under_way) > LOOK:
            self._hand_on(replace(message, position=under_way[LOOK]))
        elif message.kind is MessageKind.CHECK and run.check_at:
            now = self._now()
            age = now - (run.started_at or now)
            check_at = now + min(max(age / 4, CHECK_AFTER), CHECK_SELDOM)
            runs.move_check(run.run_id, old=run.check_at, new=check_at)
        self._advance(run, _definition(run), progress, message.hops)

    def cancel(self, run: Run, message: Message) -> None:
        """Start no other target, and let those end that are under way."""
        fleets.stop(run, CANCELLED, now=self._now())
        self.look_after(run, message)

    def _advance(
        self,
        run: Run,
        definition: TaskDefinition | None,
        progress: Progress,
        hops: int,
    ) -> None:
        """Start the targets whose turn it is, stop the run, or end it."""
        # Without its version each target fails for that reason, and the run ends.
        rollout = definition.rollout if definition else Rollout()
        sender = tokens.token_hex(8)
        for _ in range(STEPS):
            if progress.is_over:
                self._end(run, definition, rollout, progress)
                return
            reason = None if progress.stopped else stop_reason(rollout, progress)
            if reason:
                fleets.stop(run, reason, now=self._now())
                progress = fleets.progress(run)
                continue
            old = progress.sent
            new = next_sent(rollout, progress)
            if not rollout.batches:  # a batch is one step
                new = min(new, old + STEP)
            if new == old:
                return
            moved = fleets.move(run, old=old, new=new, sender=sender, now=self._now())
            if not moved:
                progress = fleets.progress(run)
                # Mine is one whose answer was lost.
                moved = (progress.sent, progress.sender) == (new, sender)
            if moved:
                progress = replace(progress, sent=new)
                ids = fleets.targets(run, old, new)
                self._send(
                    _call(run, MessageKind.START, position, server_id)
                    for position, server_id in enumerate(ids, old)
                )
        self._hand_on(
            Message(
                kind=MessageKind.START,
                run_id=run.run_id,
                group=run.task_id,
                hops=hops,
            )
        )

    def _end(
        self,
        run: Run,
        definition: TaskDefinition | None,
        rollout: Rollout,
        progress: Progress,
    ) -> None:
        # It may be to be cancelled since it was read.
        present = runs.get(run.run_id) or run
        state, reason = verdict(rollout, progress, cancel_by=present.cancel_by)
        end_run(run, definition, state, reason, self._now(), self._queue)

    def _send(self, messages: Iterable[Message]) -> None:
        refused = self._queue.send([(message, 0) for message in messages])
        if refused:
            log.warning(
                "The check of the run has to send these messages",
                action="messages_not_sent",
                run_id=refused[0].run_id,
                count=len(refused),
            )

    def _hand_on(self, message: Message) -> None:
        """Let a message go on; at the end of a chain the run's check does."""
        if message.hops < MAX_HOPS:
            self._send([replace(message, hops=message.hops + 1)])


def is_told(execution: Execution | None) -> bool:
    """Return whether the execution is marked to end, and will be visited again."""
    return (
        execution is not None
        and execution.cancel_by is not None
        and execution.next_poll is not None
    )


def _found(run: Run, positions: list[int]) -> list[tuple[int, str, Execution | None]]:
    """Return server and execution of each position, which are in order."""
    if not positions:
        return []
    first = positions[0]
    ids = fleets.targets(run, first, positions[-1] + 1)
    named = [(one, ids[one - first]) for one in positions]
    found = executions.get_many(run.run_id, [server_id for _, server_id in named])
    return [(one, server_id, found.get(server_id)) for one, server_id in named]


def _call(run: Run, kind: MessageKind, position: int, server_id: str) -> Message:
    return Message(
        kind=kind,
        run_id=run.run_id,
        group=run.task_id,
        server_id=server_id,
        position=position,
    )


def _definition(run: Run) -> TaskDefinition | None:
    return tasks.get_version(run.task_id, run.task_version or 0)
