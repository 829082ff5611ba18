"""Every error cronhop raises on purpose.

CronhopError
├── Invalid              a value that cannot be accepted, with the field at fault
├── NotFound             there is no such thing, or it is not yours to see
├── Forbidden            your roles do not allow it
├── Conflict             the present state forbids it
├── PreconditionFailed   it was changed since you read it
├── InProgress           the same request is being worked on
├── KeyReused            the key of the request was another one's
├── SecretMissing        a credential has no value, or is gone
├── SecretUnavailable    Secrets Manager does not give a value just now
├── OutputUnavailable    the bucket does not take or give output just now
├── QueueUnavailable     the queue does not take messages just now
├── DeliveryFailed       a channel does not take a notification just now
├── ObjectRefused        the transfer bucket lacks an object, or may not be used
├── ObjectUnavailable    the transfer bucket does not answer just now
└── RemoteError          a server could not be used; says why in one word
    ├── Unreachable      no connection: name, route, refused, reset, silent
    ├── Busy             sshd drops connections (MaxStartups, penalties)
    ├── Deadline         our own time for the visit is over
    ├── AddressRefused   the address is one that cronhop never connects to
    ├── HostKeyRefused   the host key is not a pinned one
    ├── HostKeyMissing   no host key is pinned yet
    ├── LoginRefused     the credential was not accepted
    ├── NoWorkdir        the home directory cannot hold the execution's files
    ├── FileRefused      the server does not take or give a file; says why
    ├── FileChanged      a file is not what was read or written of it
    └── ProtocolError    the answer of the host made no sense
"""

from typing import ClassVar, Self


class CronhopError(Exception):
    """Something went wrong in cronhop."""


class Invalid(CronhopError):
    """The value of `field` cannot be accepted.

    `field` is the dotted path in the request (`spec.command`), "" for the whole.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class NotFound(CronhopError):
    """There is no such thing."""


class Forbidden(CronhopError):
    """Your roles do not allow it; `field` is the one at fault, if it is one."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


class Conflict(CronhopError):
    """The present state forbids it; `field` is the one at fault, if it is one."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class PreconditionFailed(CronhopError):
    """It was changed since you read it."""


class InProgress(CronhopError):
    """A request with this Idempotency-Key is being worked on; repeat it later."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class KeyReused(CronhopError):
    """This Idempotency-Key was another request's; take a new one."""

    def __init__(self) -> None:
        super().__init__(type(self).__doc__)


class SecretMissing(CronhopError):
    """The credential has no value."""


class SecretUnavailable(CronhopError):
    """Secrets Manager does not give the value just now."""


class OutputUnavailable(CronhopError):
    """The bucket does not take or give output just now."""


class QueueUnavailable(CronhopError):
    """The queue does not take messages just now."""


class DeliveryFailed(CronhopError):
    """A channel does not take the notification just now.

    `after_s` is how long it wants to be left alone, if it says so.
    """

    def __init__(self, message: str, *, after_s: int | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class ObjectRefused(CronhopError):
    """The transfer bucket lacks the object, or may not be used for it."""


class ObjectUnavailable(CronhopError):
    """The transfer bucket does not take or give the object just now."""


class RemoteError(CronhopError):
    """A server could not be used.

    `reason` is a stable word for records and statistics, `permanent` says that
    the same visit cannot succeed without somebody changing something.
    """

    reason: ClassVar[str] = "remote"
    permanent: ClassVar[bool] = False

    def via(self, jump: str) -> Self:
        """Return this error as one of the jump host of that name."""
        error = type(self).__new__(type(self), f"via {jump}: {self}")
        vars(error).update(vars(self))
        return error


class Unreachable(RemoteError):
    """No connection to the server."""

    reason = "unreachable"


class Busy(RemoteError):
    """The server drops new connections."""

    reason = "busy"


class Deadline(RemoteError):
    """The time for this visit is over."""

    reason = "deadline"


class AddressRefused(RemoteError):
    """The server's name leads to an address that is never connected to."""

    reason = "address"
    permanent = True


class HostKeyRefused(RemoteError):
    """The host key is not a pinned one.

    `expected` and `seen` are fingerprints, `SHA256:…`; `server_id` says whose,
    for it may be the jump host's.
    """

    reason = "host_key"
    permanent = True

    def __init__(self, *, expected: tuple[str, ...], seen: str, server_id: str) -> None:
        super().__init__(
            f"the host shows key {seen}, pinned is {' or '.join(expected)}"
        )
        self.expected = expected
        self.seen = seen
        self.server_id = server_id


class HostKeyMissing(RemoteError):
    """No host key is pinned: nothing is sent to a host that nobody knows."""

    reason = "host_key"
    permanent = True

    def __init__(self) -> None:
        super().__init__(
            "no host key is pinned; check the server and approve the one it shows"
        )


class LoginRefused(RemoteError):
    """The server did not accept the credential."""

    reason = "auth"
    permanent = True


class NoWorkdir(RemoteError):
    """The home directory cannot hold the execution's files."""

    reason = "no_workdir"
    permanent = True


class FileRefused(RemoteError):
    """The server does not take or give the file."""

    reason = "file"
    permanent = True


class FileChanged(RemoteError):
    """The file on the server is not what was read or written of it."""

    reason = "file_changed"


class ProtocolError(RemoteError):
    """The answer of the host made no sense."""

    reason = "protocol"
