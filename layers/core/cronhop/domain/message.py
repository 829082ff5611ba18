"""What is said over the queue: ids only, never a command or a secret.

A message tells an executor which row to look at; what is to be done is always
read from the tables, so a forged or stale message can start nothing of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from cronhop.domain.ids import is_id
from cronhop.errors import Invalid

MAX_HOPS = 12  # messages in a chain; then the tick goes on from the table
_PROBE = "probe"  # the kind of a message that is about a server, not a run


class MessageKind(StrEnum):
    """What an executor is asked to do."""

    START = "start"  #: take the run through its gate, then execute it
    POLL = "poll"  #: visit an execution that is under way
    CHECK = "check"  #: see whether a run needs help, or its end an alarm
    CANCEL = "cancel"  #: end what a run has under way


@dataclass(frozen=True, kw_only=True)
class Message:
    """One request to an executor.

    | field     | meaning                                                    |
    |-----------|------------------------------------------------------------|
    | server_id | which execution of the run; always for `poll`              |
    | position  | the server's among several targets, for `start`, `cancel`; |
    |           | without a server: from where to go on                      |
    | group     | the task: the queue serves groups fairly                   |
    | hops      | how many messages in a chain led to this one               |
    | live      | somebody reads the output just now: look, and do not wait  |
    """

    kind: MessageKind
    run_id: str
    group: str
    server_id: str | None = None
    position: int | None = None
    hops: int = 0
    live: bool = False

    def to_json(self) -> str:
        """Return the message as it travels."""
        return json.dumps(
            {name: value for name, value in asdict(self).items() if value is not None}
        )

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Return the message that travelled as this text. Raises Invalid."""
        try:
            body = json.loads(text)
            message = cls(
                kind=MessageKind(body["kind"]),
                run_id=body["run_id"],
                group=body["group"],
                server_id=body.get("server_id"),
                position=int(body["position"]) if "position" in body else None,
                hops=int(body.get("hops", 0)),
                live=body.get("live") is True,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise Invalid("", "this is no message of ours") from exc
        if not _is_id(message.run_id):
            raise Invalid("run_id", "not an id")
        needs_server = message.kind is MessageKind.POLL or message.server_id is not None
        if needs_server and not _is_id(message.server_id):
            raise Invalid("server_id", "not an id")
        if message.position is not None and message.position < 0:
            raise Invalid("position", "not a position")
        return message


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The request to check a server: which one, and the check it is."""

    server_id: str
    check_id: str

    @property
    def group(self) -> str:
        """The server: the queue serves groups fairly."""
        return self.server_id

    def to_json(self) -> str:
        """Return the message as it travels."""
        return json.dumps({"kind": _PROBE, **asdict(self)})


def read(text: str) -> Message | Probe:
    """Return the message that travelled as this text. Raises Invalid."""
    try:
        body = json.loads(text)
        is_probe = body["kind"] == _PROBE
    except (ValueError, KeyError, TypeError) as exc:
        raise Invalid("", "this is no message of ours") from exc
    if not is_probe:
        return Message.from_json(text)
    for name in ("server_id", "check_id"):
        if not _is_id(body.get(name)):
            raise Invalid(name, "not an id")
    return Probe(server_id=body["server_id"], check_id=body["check_id"])


def _is_id(value: object) -> bool:
    return isinstance(value, str) and is_id(value)
