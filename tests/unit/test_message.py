"""Messages: read back as sent, and nothing else is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.message import Message, MessageKind, Probe, read
from cronhop.errors import Invalid

RUN = "01J00000000000000000000000"
SERVER = "01J0000000000000000000000A"


@pytest.mark.parametrize("kind", list(MessageKind))
def test_message_is_read_back(kind):
    """What travels is what was sent."""
    message = Message(kind=kind, run_id=RUN, server_id=SERVER, group="t", hops=3)

    assert Message.from_json(message.to_json()) == message
    assert read(message.to_json()) == message


def test_probe_is_read_back():
    """The request to check a server travels likewise, and is no message on a run."""
    probe = Probe(server_id=SERVER, check_id=RUN)

    assert read(probe.to_json()) == probe
    with pytest.raises(Invalid):
        Message.from_json(probe.to_json())


@pytest.mark.parametrize("name", ["server_id", "check_id"])
@pytest.mark.parametrize("value", [None, 3, "x", "../../etc", RUN + "A"])
def test_odd_probe_is_refused(name, value):
    """Only ids are in it."""
    body = json.loads(Probe(server_id=SERVER, check_id=RUN).to_json())

    with pytest.raises(Invalid):
        read(json.dumps(body | {name: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "destroy"},
        {"run_id": "x"},
        {"run_id": 3},
        {"run_id": None},
        {"kind": "poll", "server_id": None},
        {"kind": "poll", "server_id": "x"},
        {"hops": "many"},
        {"hops": None},
        {"group": None, "kind": []},
    ],
)
def test_odd_message_is_refused(change):
    """A message of nobody's raises Invalid, whatever it holds."""
    body = json.loads(Message(kind=MessageKind.START, run_id=RUN, group="t").to_json())

    with pytest.raises(Invalid):
        Message.from_json(json.dumps(body | change))


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_any_json_is_refused(value):
    """No JSON value but a message of ours is one."""
    for reader in (Message.from_json, read):
        with pytest.raises(Invalid):
            reader(json.dumps(value))


@given(st.text())
def test_any_text_is_refused(text):
    """No text but a message of ours is one."""
    for reader in (Message.from_json, read):
        with pytest.raises(Invalid):
            reader(text)
