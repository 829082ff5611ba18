"""What the tools know of commands that only a real account would answer.

Stand-ins of the programs write down what they are asked for; `check` says whether
the program itself would understand it. Nothing is sent.
"""

import json
import re
from functools import cache
from pathlib import Path

import botocore.session
import typer
from botocore import xform_name
from botocore.validate import validate_parameters

from cronhop_cli.main import app
from tests.template import load

# Where, how many words, and the words; then something for who reads the answer.
_RECORD = """\
#!/bin/sh
printf '%s\\0' "$PWD" "$#" {name} "$@" >> {record}
echo '{{}}'
"""

# Of the AWS CLI itself, with the number of their values.
GLOBAL = {"--output": 1, "--query": 1, "--region": 1, "--cli-binary-format": 1}
POSITIONAL = {"lambda invoke": 1}  # the file that the answer goes to
# What the AWS CLI calls otherwise than the service.
RENAMED = {("sns", "Subscribe", "Endpoint"): "--notification-endpoint"}
SAM = {
    "build": {},
    "deploy": {"--guided": 0, "--parameter-overrides": None},
    "delete": {},
}


class Wrong(Exception):
    """What was asked for does not exist, or not like this."""


def options(words, known, positional=0):
    """Return the values of each option; None as a number: as many as there are."""
    found, rest, name = {}, [], None
    for word in words:
        if word.startswith("--"):
            if word not in known:
                raise Wrong(f"there is no option {word}")
            name = word
            found[name] = []
        elif name is None or len(found[name]) == known[name]:
            rest.append(word)
        else:
            found[name].append(word)
    for name, values in found.items():
        wanted = known[name]
        if len(values) != wanted if wanted is not None else not values:
            raise Wrong(f"{name} has {len(values)} values")
    if len(rest) != positional:
        raise Wrong(f"what is {rest}?")
    return found


@cache
def _model(service):
    return botocore.session.get_session().get_service_model(service)


def aws(words, folder):
    """Check a command of the AWS CLI against the description of the service."""
    service, command, *rest = words
    model = _model(service)
    if command == "wait":
        waiters = botocore.session.get_session().get_waiter_model(service)
        names = {xform_name(one, "-"): one for one in waiters.waiter_names}
        command, *rest = rest
        if command not in names:
            raise Wrong(f"there is no waiter {command}")
        operation = waiters.get_waiter(names[command]).operation
    else:
        names = {xform_name(one, "-"): one for one in model.operation_names}
        if command not in names:
            raise Wrong(f"there is no operation {service} {command}")
        operation = names[command]
    shape = model.operation_model(operation).input_shape
    members = {
        RENAMED.get((service, operation, name), f"--{xform_name(name, '-')}"): name
        for name in shape.members
    }
    known = dict(GLOBAL)
    for option, name in members.items():
        kind = shape.members[name].type_name
        known[option] = {"boolean": 0, "list": None}.get(kind, 1)
        if kind == "boolean":
            known[f"--no-{option[2:]}"] = 0
    given = options(rest, known, POSITIONAL.get(f"{service} {command}", 0))
    values = {
        members[option]: value(shape.members[members[option]], words, folder)
        for option, words in given.items()
        if option in members
    }
    validate_parameters(values, shape)


def value(shape, words, folder):
    """Return what the AWS CLI makes of the words after an option."""
    kind = shape.type_name
    if kind == "boolean":
        return True
    if kind in {"structure", "map", "list"} and words[0][:1] in "{[":
        return json.loads(words[0])
    if kind == "list":
        return [value(shape.member, [word], folder) for word in words]
    if kind == "structure":
        pairs = [part.split("=", 1) for part in words[0].split(",")]
        return {
            name: value(shape.members[name], [text], folder) for name, text in pairs
        }
    if kind == "map":
        return dict(part.split("=", 1) for part in words[0].split(","))
    if kind in {"integer", "long"}:
        return int(words[0])
    if kind == "blob":
        if words[0].startswith("file://"):
            (folder / words[0].removeprefix("file://")).read_bytes()
        return b""
    return words[0]


def sam(words, folder):
    """Check a command of the SAM CLI, and parameters against the template."""
    command, *rest = words
    given = options(rest, SAM[command])
    parameters = load()["Parameters"]
    for one in given.get("--parameter-overrides", []):
        name, text = one.split("=", 1)
        if name not in parameters:
            raise Wrong(f"the template has no parameter {name}")
        allowed = parameters[name].get("AllowedValues", [text])
        pattern = parameters[name].get("AllowedPattern", ".*")
        if text not in map(str, allowed) or not re.fullmatch(pattern, text):
            raise Wrong(f"{name} cannot be {text!r}")


def cronhop(words, folder):
    """Check a command of the command line by its own parser."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("cronhop", list(words))


def uv(words, folder):
    """Check that there is something to install."""
    if words[:2] != ["tool", "install"] or not (folder / words[2]).is_dir():
        raise Wrong(f"what is {words}?")


PROGRAMS = {"aws": aws, "sam": sam, "cronhop": cronhop, "uv": uv}


def install(folder, record):
    """Put the programs into a folder; they write down there what they are asked."""
    for name in PROGRAMS:
        program = folder / name
        program.write_text(_RECORD.format(name=name, record=record))
        program.chmod(0o755)


def check(record):
    """Raise an error that names the command, if a program would not take it."""
    words = iter(record.read_text().split("\0")[:-1] if record.exists() else [])
    for folder in words:
        count, name = int(next(words)), next(words)
        asked = [next(words) for _ in range(count)]
        try:
            PROGRAMS[name](asked, Path(folder))
        except Exception as exc:
            raise Wrong(f"{name} {' '.join(asked)}: {exc!r}") from exc
