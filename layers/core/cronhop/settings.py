"""What the environment says: names of tables and queues, and the limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network


class SettingsError(Exception):
    """The environment lacks a setting or holds one that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a function is told by the template.

    | field            | variable                 | meaning                       |
    |------------------|--------------------------|-------------------------------|
    | table_prefix     | CRONHOP_TABLE_PREFIX     | tables are `<prefix><noun>`   |
    | queue_url        | CRONHOP_QUEUE_URL        | the executor's queue          |
    | bucket           | CRONHOP_BUCKET           | output beyond the inline size |
    | topic_arn        | CRONHOP_TOPIC_ARN        | where alarms go; "": nowhere  |
    | notice_queue_url | CRONHOP_NOTICE_QUEUE_URL | the queue of notices          |
    | topics           | CRONHOP_TOPICS           | what the ARN of a channel's   |
    |                  |                          | topic begins with             |
    | bus_name         | CRONHOP_BUS_NAME         | where events go; "": nowhere  |
    | secret_prefix    | CRONHOP_SECRET_PREFIX    | secrets are `<prefix><id>`    |
    | shards           | CRONHOP_SHARDS           | partitions of the time indexes|
    | retention_days   | CRONHOP_RETENTION_DAYS   | how long ended runs are kept  |
    | allowed_networks | CRONHOP_ALLOWED_NETWORKS | CIDRs that are allowed though |
    |                  |                          | they are loopback or the like |
    | refused_networks | CRONHOP_REFUSED_NETWORKS | CIDRs that are refused, also  |
    |                  |                          | where they are allowed        |
    | transfer_bucket  | CRONHOP_TRANSFER_BUCKET  | files of transfers; "": none  |
    | issuer           | CRONHOP_ISSUER           | whose tokens the API accepts  |
    | client_id        | CRONHOP_CLIENT_ID        | as what clients log in there; |
    |                  |                          | "": with another issuer       |
    | oidc_issuer      | CRONHOP_OIDC_ISSUER      | who makes the tokens; "": the |
    |                  |                          | stack's own pool of Cognito   |
    | groups_claim     | CRONHOP_GROUPS_CLAIM     | the claim that names groups   |
    | audit_days       | CRONHOP_AUDIT_DAYS       | how long the audit is kept    |
    """

    region: str
    table_prefix: str
    queue_url: str
    bucket: str
    secret_prefix: str
    topic_arn: str = ""
    bus_name: str = ""
    notice_queue_url: str = ""
    topics: str = ""
    shards: int = 8
    retention_days: int = 90
    allowed_networks: tuple[str, ...] = ()
    refused_networks: tuple[str, ...] = ()
    transfer_bucket: str = ""
    issuer: str = ""
    client_id: str = ""
    oidc_issuer: str = ""
    groups_claim: str = "cognito:groups"
    audit_days: int = 400

    @property
    def is_cognito(self) -> bool:
        """Whether tokens are of the pool that the template makes."""
        return not self.oidc_issuer

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Return the settings of this environment.

        Raises SettingsError naming the variable that is missing or unreadable.
        """
        return cls(
            region=_text(env, "AWS_REGION"),
            table_prefix=_text(env, "CRONHOP_TABLE_PREFIX"),
            queue_url=_text(env, "CRONHOP_QUEUE_URL"),
            bucket=_text(env, "CRONHOP_BUCKET"),
            secret_prefix=_text(env, "CRONHOP_SECRET_PREFIX"),
            topic_arn=env.get("CRONHOP_TOPIC_ARN", ""),
            bus_name=env.get("CRONHOP_BUS_NAME", ""),
            notice_queue_url=env.get("CRONHOP_NOTICE_QUEUE_URL", ""),
            topics=env.get("CRONHOP_TOPICS", ""),
            shards=_number(env, "CRONHOP_SHARDS", 8),
            retention_days=_number(env, "CRONHOP_RETENTION_DAYS", 90),
            allowed_networks=_networks(env, "CRONHOP_ALLOWED_NETWORKS"),
            refused_networks=_networks(env, "CRONHOP_REFUSED_NETWORKS"),
            transfer_bucket=env.get("CRONHOP_TRANSFER_BUCKET", ""),
            issuer=env.get("CRONHOP_ISSUER", ""),
            client_id=env.get("CRONHOP_CLIENT_ID", ""),
            oidc_issuer=env.get("CRONHOP_OIDC_ISSUER", ""),
            groups_claim=env.get("CRONHOP_GROUPS_CLAIM") or "cognito:groups",
            audit_days=_number(env, "CRONHOP_AUDIT_DAYS", 400),
        )


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(name)
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _networks(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the networks of a list; one that cannot be read opens no door."""
    parts = [part.strip() for part in env.get(name, "").split(",")]
    try:
        return tuple(str(ip_network(part, strict=False)) for part in parts if part)
    except ValueError as exc:
        raise SettingsError(f"{name}: {exc}") from exc


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name, "")
    if not value:
        return default
    if not value.isdigit() or int(value) < 1:
        raise SettingsError(f"{name} is {value!r}, not a whole number above 0")
    return int(value)
