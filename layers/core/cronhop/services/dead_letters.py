"""Dead letters: messages that failed again and again.

They say nothing about how a command ended, so no outcome is ever written here:
the tick is told to look at the row now.
"""

from __future__ import annotations

from datetime import datetime

from cronhop.domain.message import Probe, read
from cronhop.errors import Invalid
from cronhop.observe import log
from cronhop.store import executions, runs


def revive(text: str, now: datetime) -> None:
    """Let the tick come back at once to what this message was about."""
    try:
        message = read(text)
    except Invalid as exc:
        log.error("A message of nobody's", action="dead_letter_unknown", why=str(exc))
        return
    if isinstance(message, Probe):
        # Who asked sees that it is pending, and asks again.
        log.error(
            "A check failed again and again",
            action="dead_probe",
            server_id=message.server_id,
            check_id=message.check_id,
        )
        return
    log.error(
        "A message failed again and again",
        action="dead_letter",
        kind=message.kind.value,
        run_id=message.run_id,
        server_id=message.server_id,
    )
    if message.server_id:
        execution = executions.get(message.run_id, message.server_id)
        if execution:
            if execution.next_poll and execution.next_poll > now:
                executions.move_poll(
                    message.run_id, message.server_id, old=execution.next_poll, new=now
                )
            return
        # One of several servers that nobody has claimed: its run looks after it.
    run = runs.get(message.run_id)
    if run and run.check_at and run.check_at > now:
        runs.move_check(run.run_id, old=run.check_at, new=now)
