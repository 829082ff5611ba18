"""What the API answers, held against its OpenAPI document."""

import json
from functools import cache

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from api.handler import DOCUMENT

URI = "urn:cronhop"


@cache
def document():
    """The document as it is served."""
    return json.loads(DOCUMENT.read_text())


@cache
def closed():
    """Return where its schemas are found, with nothing in an object but what they say.

    Clients are told to expect more; tests are not.
    """

    def close(value):
        if isinstance(value, list):
            return [close(one) for one in value]
        if not isinstance(value, dict):
            return value
        shut = {name: close(one) for name, one in value.items()}
        if isinstance(value.get("properties"), dict) and value.get("type") == "object":
            shut.setdefault("additionalProperties", False)
        return shut

    whole = DRAFT202012.create_resource(close(document()))
    return Registry().with_resource(URI, whole)


def pointer(*steps):
    """Return the reference to a place in the document."""
    escaped = (one.replace("~", "~0").replace("/", "~1") for one in steps)
    return "/".join([f"{URI}#", *escaped])


def errors(value, *steps):
    """Return what is wrong with a value by the schema at this place."""
    schema = {"$ref": pointer(*steps)}
    found = Draft202012Validator(
        schema, registry=closed(), format_checker=FormatChecker()
    )
    return [
        f"{error.json_path}: {error.message}"[:500]
        for error in found.iter_errors(value)
    ]


def operation(method, path):
    """Return the path's form and what the document says of it; None if it has none."""
    parts = path.split("/")
    for form, item in document()["paths"].items():
        names = form.split("/")
        fits = len(names) == len(parts) and all(
            name == part or name.startswith("{")
            for name, part in zip(names, parts, strict=True)
        )
        if fits and method.lower() in item:
            return form, item[method.lower()]
    return None


def check(method, path, answer):
    """Ensure that the document tells of an answer as it is."""
    found = operation(method, path)
    if found is None:
        return
    form, told = found
    status = str(answer.status)
    where = f"{method} {form} {status}"
    assert status in told["responses"], f"{where} is not in the OpenAPI document"
    response, steps = (
        told["responses"][status],
        ("paths", form, method.lower(), "responses", status),
    )
    if "$ref" in response:
        steps = ("components", "responses", status)
        response = document()["components"]["responses"][status]
    if "content" not in response:
        assert answer.body is None, where
        return
    media_type = answer.headers["content-type"]
    assert media_type in response["content"], f"{where}: {media_type}"
    wrong = errors(answer.body, *steps, "content", media_type, "schema")
    assert not wrong, f"{where}: {wrong}"
    for name, header in response.get("headers", {}).items():
        assert not header["required"] or name.lower() in answer.headers, where
