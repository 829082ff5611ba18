"""The schema of files of tasks says what the API accepts."""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from api import bodies, schedule_body, specs
from cronhop_cli.task_form import schema

DEFINITIONS: dict[str, type[BaseModel]] = {
    "task": bodies.ScriptTaskBody,
    "script": bodies.ScriptBody,
    "file_transfer": specs.FileTransferBody,
    "service_control": specs.ServiceControlBody,
    "probe": specs.ProbeBody,
    "selector": bodies.SelectorBody,
    "targets": bodies.TargetsBody,
    "schedule": schedule_body.ScheduleBody,
    "retry": bodies.RetryBody,
    "parameter": bodies.ParameterBody,
    "rollout": bodies.RolloutBody,
}
LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "uniqueItems")
BOUNDS = ("minimum", "maximum", *LENGTHS, "enum")
NAMES = {"server_ids": "servers"}  # in a file servers have names


def is_not_yet(annotation: Any) -> bool:
    """Return whether only null passes."""
    if get_origin(annotation) is Annotated:
        return is_not_yet(get_args(annotation)[0])
    return annotation is NoneType or annotation is None


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a body that are there already."""
    return {
        NAMES.get(name, name): field
        for name, field in model.model_fields.items()
        if not is_not_yet(field.annotation)
    }


def is_nullable(annotation: Any) -> bool:
    """Return whether null is a value of it."""
    if get_origin(annotation) is Annotated:
        return is_nullable(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return any(is_nullable(one) for one in get_args(annotation))
    return annotation is NoneType


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part of the schema with what it refers to."""
    if "$ref" in part:
        name = part["$ref"].removeprefix("#/$defs/")
        return {**resolved(schema()["$defs"][name]), **part}
    return part


def takes_null(part: dict[str, Any]) -> bool:
    """Return whether the schema lets null pass."""
    part = resolved(part)
    kinds = part.get("type", [])
    inner = part.get("anyOf", [])
    return "null" in kinds or any(one.get("type") == "null" for one in inner)


def test_it_is_a_schema() -> None:
    """It is one of draft 2020-12, and its references lead somewhere."""
    Draft202012Validator.check_schema(schema())
    for name in DEFINITIONS:
        for part in schema()["$defs"][name]["properties"].values():
            resolved(part)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_it_has_the_fields_of_the_api(name: str) -> None:
    """No field is missing, and none is there that the API does not know."""
    known = schema()["$defs"][name]

    assert known["properties"].keys() == fields(DEFINITIONS[name]).keys()
    assert known["additionalProperties"] is False


@pytest.mark.parametrize("name", DEFINITIONS)
def test_its_defaults_are_those_of_the_api(name: str) -> None:
    """What is left out of a file means what it means to the API."""
    known = schema()["$defs"][name]

    for field_name, field in fields(DEFINITIONS[name]).items():
        part = known["properties"][field_name]
        required = field.is_required() and field_name != "kind"
        assert (field_name in known.get("required", [])) == required
        assert ("default" in part) != required
        if not required:
            default = field.get_default()
            if isinstance(default, BaseModel):
                default = {}
            assert part["default"] == default
        if field_name != "targets":
            assert takes_null(part) == is_nullable(field.annotation), field_name


def ways(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schema and each of its alternatives."""
    return [part, *part.get("anyOf", [])]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_its_bounds_are_those_of_the_api(name: str) -> None:
    """A number that the schema takes is not refused for its size."""
    generated = DEFINITIONS[name].model_json_schema()["properties"]
    known = schema()["$defs"][name]["properties"]

    for field_name in fields(DEFINITIONS[name]):
        theirs, ours = generated.get(field_name, {}), resolved(known[field_name])
        for key in BOUNDS:
            wanted = [one[key] for one in ways(theirs) if key in one]
            if wanted:
                found = [one[key] for one in ways(ours) if key in one]
                assert found == wanted, (field_name, key)


def test_a_template_has_the_fields_of_a_task() -> None:
    """To the API its body is that of a task."""
    lists = schema()["properties"]

    assert lists["templates"]["items"] == lists["tasks"]["items"]
