"""Keys that DynamoDB refuses and moto takes: too long, empty, no Unicode."""

import json
import re

from botocore.awsrequest import AWSResponse

from tests.template import tables

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
MAX_BYTES = {"HASH": 2048, "RANGE": 1024}
_OPERATIONS = (
    "BatchGetItem",
    "DeleteItem",
    "GetItem",
    "PutItem",
    "Query",
    "TransactWriteItems",
    "UpdateItem",
)
_IN_QUERY = re.compile(r"([#\w]+) (?:[<>=]+|BETWEEN) (:\w+)(?: AND (:\w+))?")


def strict(session):
    """Let a botocore session refuse such keys, and return it."""
    keys = _Keys(tables(""))
    for operation in _OPERATIONS:
        session.register(f"before-call.dynamodb.{operation}", keys)
    return session


class _Keys:
    """Answers as DynamoDB does where a key is none, before moto hears of it."""

    def __init__(self, tables):
        self._kinds = {}
        for table in tables:
            indexes = table.get("GlobalSecondaryIndexes", [])
            self._kinds[table["TableName"]] = {
                key["AttributeName"]: key["KeyType"]
                for one in (table, *indexes)
                for key in reversed(one["KeySchema"])
            }

    def __call__(self, model, params, **kwargs):
        body = json.loads(params["body"])
        for table, attribute, value in _keys(model.name, body):
            kind = self._kinds.get(table.partition("-")[2], {}).get(attribute)
            text = next(iter(value.values()))
            why = kind and _wrong(text, MAX_BYTES[kind])
            if why:
                error = {"Code": "ValidationException", "Message": why}
                return AWSResponse("", 400, {}, None), {"Error": error}
        return None


def _wrong(text, most):
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "not Unicode"
    if not size:
        return "the key is an empty string"
    return f"Size of key has exceeded the maximum of {most}" if size > most else None


def _keys(operation, body):
    """Yield (table, attribute, value) of what an operation uses as a key."""
    if operation == "BatchGetItem":
        for table, wanted in body["RequestItems"].items():
            for key in wanted["Keys"]:
                yield from ((table, *pair) for pair in key.items())
    elif operation == "TransactWriteItems":
        for (one,) in (item.values() for item in body["TransactItems"]):
            yield from ((one["TableName"], *pair) for pair in _item(one).items())
    elif operation == "Query":
        names = body.get("ExpressionAttributeNames", {})
        values = body["ExpressionAttributeValues"]
        for name, *used in _IN_QUERY.findall(body["KeyConditionExpression"]):
            for one in filter(None, used):
                yield body["TableName"], names.get(name, name), values[one]
    else:
        yield from ((body["TableName"], *pair) for pair in _item(body).items())


def _item(body):
    return body.get("Key") or body.get("Item") or {}
