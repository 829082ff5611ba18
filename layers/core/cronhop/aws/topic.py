"""The topic that alarms are published on."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cronhop.observe import log

SUBJECT_CHARACTERS = 100  # SNS takes fewer than that, printable ASCII


class Topic:
    """Publishes on an SNS topic.

    `client` is an SNS client. Without an `arn` nobody is told of anything.
    """

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    def publish(self, subject: str, text: str) -> bool:
        """Send the text to all who have subscribed; a subject is cut and cleaned.

        False if SNS does not take it just now.
        """
        if not self._arn:
            return True
        try:
            self._client.publish(
                TopicArn=self._arn, Subject=_plain(subject), Message=text
            )
        except (BotoCoreError, ClientError):
            log.exception("An alarm could not be raised", action="alarm_failed")
            return False
        return True


def _plain(subject: str) -> str:
    clean = "".join(
        char if char.isascii() and char.isprintable() else "?" for char in subject
    )
    return clean[: SUBJECT_CHARACTERS - 1]
