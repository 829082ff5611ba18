"""One session for every client: making another costs some 45 ms of CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from cronhop.settings import Settings

CONFIG = Config(
    connect_timeout=1,
    read_timeout=5,  # longer than DynamoDB's: a chunk of output has 256 KiB
    retries={"total_max_attempts": 4, "mode": "standard"},
    max_pool_connections=12,
)


class Session:
    """The session of one Lambda environment.

    `botocore` is what the store is connected with.
    """

    def __init__(self, settings: Settings) -> None:
        self.botocore = botocore.session.get_session()
        # Of each request botocore describes itself anew, twice: a tenth of its CPU.
        self.botocore.set_default_client_config(Config(user_agent="cronhop"))
        self._boto3 = boto3.Session(
            botocore_session=self.botocore, region_name=settings.region
        )

    def client(self, service: str) -> Any:
        """Return a client of the service, with time-outs that fit a tick."""
        return self._boto3.client(service, config=CONFIG)
