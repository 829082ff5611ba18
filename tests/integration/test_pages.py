"""What can be known of the documentation's pages without a stack.

Their commands are run by tests/e2e/test_pages.py; those that need an account of
AWS by stand-ins that check what they are asked for.
"""

import ast
import inspect
import json
import os
import re
import subprocess
import typing

import pytest
import yaml
from pydantic import TypeAdapter

from cronhop_cli.task_file import read_all
from tests import stand_in
from tests.pages import ON_AWS, ROOT, blocks, pages, text

LANGUAGES = {"", "sh", "json", "yaml", "python"}
BLOCKS = [one for page in pages() for one in blocks(page)]
REQUEST = re.compile(r"^(POST|PUT|PATCH) (/v1/\S+)\s+(\{.*\})$")
TITLE = re.compile(r"`(POST|PUT|PATCH) (/v1/[^`]+)`[^.]*:$")  # right above a body


@pytest.fixture
def ask(tmp_path):
    """Run commands with stand-ins for what needs an account, and check them."""

    def ask(commands):
        record = tmp_path / "record"
        stand_in.install(tmp_path, record)
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
        stand_in.check(record)
        return record.exists()

    return ask


@pytest.mark.parametrize(
    "page",
    sorted({one.page for one in BLOCKS if one.is_on_aws}),
)
def test_commands_for_aws_exist(page, ask):
    """Operations, parameters and values are known, in the order of the page."""
    assert ask("\n".join(one.text for one in blocks(page, "sh") if one.is_on_aws))


@pytest.mark.parametrize(
    "command",
    [
        "aws dynamodb drop-table --table-name tasks",
        "aws dynamodb delete-table --table tasks",
        "aws dynamodb delete-table",
        "aws dynamodb wait table-is-there --table-name tasks",
        "aws dynamodb put-item --table-name tasks --item '{\"name\": 3}'",
        "sam deploy --parameter-overrides Retention=90",
        "sam deploy --parameter-overrides RetentionDays=91",
        "cronhop tasks destroy",
        "cronhop tasks list --everything",
        "uv tool install ./clients/gui",
    ],
)
def test_what_does_not_exist_is_found(command, ask):
    """What the programs would refuse is refused."""
    with pytest.raises(stand_in.Wrong):
        ask(command)


@pytest.mark.parametrize("page", pages())
def test_fences_say_what_they_are(page):
    """Only known languages; what runs nowhere is no `sh`."""
    for one in blocks(page):
        assert one.language in LANGUAGES, one
        assert ON_AWS not in one.text.removeprefix(ON_AWS), one


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page):
    """A link between pages names a file, and a heading that it has."""
    prose = re.sub(r"^```.*?^```$", "", text(page), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert anchor in map(_anchor, headings), link


def _anchor(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language == "yaml"], ids=str
)
def test_tasks_are_such(block, tmp_path):
    """A file of tasks is one that `cronhop apply` reads."""
    document = yaml.safe_load(block.text)
    if not {"tasks", "templates"} & document.keys():
        return
    path = tmp_path / "tasks.yaml"
    path.write_text(block.text)

    assert read_all(path)


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language == "python"], ids=str
)
def test_python_is_such(block):
    """It can be read."""
    assert ast.parse(block.text)


def requests():
    """Return (method, path, body) of each request that a page shows."""
    for block in BLOCKS:
        if block.language == "json":
            for number, shown in enumerate(_requests(block)):
                name = f"{block.page} {shown[1]} {number}"
                yield pytest.param(*shown, id=name)


def _requests(block):
    lines = text(block.page).splitlines()[: block.line - 1]
    above = next(line for line in reversed(lines) if line)
    if title := TITLE.search(above):
        yield title[1], title[2], block.text
    for line in block.text.splitlines():
        if shown := REQUEST.match(line):
            yield shown.groups()


@pytest.mark.parametrize(("method", "path", "body"), list(requests()))
def test_bodies_are_taken(method, path, body):
    """A request that a page shows has a route, whose form the body fits."""
    assert _form(method, path).validate_python(json.loads(body))


def _form(method, path):
    """Return the form of what a route takes."""
    from api.handler import app  # noqa: PLC0415

    for route in [*app._static_routes, *app._dynamic_routes]:
        if route.method == method and route.rule.match(path):
            hints = typing.get_type_hints(route.func, include_extras=True)
            name = "body" if "body" in hints else next(iter(hints))
            assert name in inspect.signature(route.func).parameters
            return TypeAdapter(typing.get_args(hints[name])[0])
    raise AssertionError(f"there is no route {method} {path}")


@pytest.mark.parametrize("page", pages())
def test_tests_that_a_page_names_are_there(page):
    """What is shown by a test is shown by one."""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text(page)):
        source = (ROOT / path).read_text()
        assert not name or re.search(rf"^def {name}\(", source, re.M), (path, name)
