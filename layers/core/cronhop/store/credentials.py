"""The table of credentials: names and fingerprints, never a value."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pynamodb.attributes import NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from cronhop.domain.credential import Credential, CredentialKind
from cronhop.store.attributes import LISTED, InstantAttribute, set_or_remove
from cronhop.store.connection import delete, put, read, table, update
from cronhop.store.page import Page


class _Listing(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "listing"
        projection = KeysOnlyProjection()

    listed = UnicodeAttribute(hash_key=True)
    name = UnicodeAttribute(range_key=True)


@table("credentials")
class CredentialRow(Model):
    """A credential as DynamoDB keeps it."""

    class Meta:
        table_name = ""

    name = UnicodeAttribute(hash_key=True)
    listed = UnicodeAttribute(default=LISTED)
    kind = UnicodeAttribute()
    fingerprint = UnicodeAttribute(null=True)
    secret_id = UnicodeAttribute()
    version = NumberAttribute()
    created_by = UnicodeAttribute()
    created_at = InstantAttribute()
    updated_at = InstantAttribute()
    environment = UnicodeAttribute(null=True)
    listing = _Listing()


def add(credential: Credential) -> bool:
    """Put the credential; False if one of this name is there already."""
    return put(
        CredentialRow(
            name=credential.name,
            kind=credential.kind.value,
            fingerprint=credential.fingerprint,
            secret_id=credential.secret_id,
            version=credential.version,
            created_by=credential.created_by,
            created_at=credential.created_at,
            updated_at=credential.updated_at,
            environment=credential.environment,
        ),
        condition=CredentialRow.name.does_not_exist(),
    )


def get(name: str) -> Credential | None:
    """Return the credential of this name as of now, None if there is none."""
    row = read(CredentialRow, name)
    return _credential(row) if row else None


def change(
    old: Credential, *, secret_id: str, fingerprint: str | None, now: datetime
) -> bool:
    """Let the credential have another value; False if its row has changed."""
    return update(
        CredentialRow(name=old.name),
        actions=[
            CredentialRow.secret_id.set(secret_id),
            CredentialRow.version.set(old.version + 1),
            CredentialRow.updated_at.set(now),
            *set_or_remove((CredentialRow.fingerprint, fingerprint)),
        ],
        condition=CredentialRow.secret_id == old.secret_id,
    )


def remove(credential: Credential) -> bool:
    """Delete this credential; False if it has changed, or is gone already."""
    return delete(
        CredentialRow(name=credential.name),
        condition=CredentialRow.secret_id == credential.secret_id,
    )


def listing(*, limit: int, after: str | None) -> Page[Credential]:
    """Return credentials by name, those after the name `after`."""
    found = CredentialRow.listing.query(
        LISTED, CredentialRow.name > after if after else None, limit=limit + 1
    )
    names = [row.name for row in found]
    rows = {row.name: row for row in CredentialRow.batch_get(names[:limit])}
    items = [_credential(rows[name]) for name in names[:limit] if name in rows]
    return Page(items=items, last=names[limit - 1] if len(names) > limit else None)


def _credential(row: CredentialRow) -> Credential:
    return Credential(
        name=row.name,
        kind=CredentialKind(row.kind),
        fingerprint=row.fingerprint,
        secret_id=row.secret_id,
        version=int(row.version),
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        environment=row.environment,
    )
