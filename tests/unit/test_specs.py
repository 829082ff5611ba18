"""Specs as clients send them: strict, and clear about what is not there yet."""

import json

import pytest
from pydantic import ValidationError

from api.specs import FileTransferBody, ServiceControlBody
from cronhop.domain.service import Action, Probe, ServiceControl
from cronhop.domain.transfer import Direction, Encoding, FileTransfer
from cronhop.errors import Invalid

UPLOAD = {"direction": "upload", "path": "a", "content": "x"}
RESTART = {"unit": "nginx", "action": "restart"}


def test_a_transfer_is_what_was_sent():
    """With the defaults of what was left out."""
    whole = UPLOAD | {"encoding": "base64", "content": "AA==", "mode": "0644"}

    assert FileTransferBody(**UPLOAD).spec() == FileTransfer(
        direction=Direction.UPLOAD, path="a", content="x"
    )
    assert FileTransferBody(**whole).spec() == FileTransfer(
        direction=Direction.UPLOAD,
        path="a",
        content="AA==",
        encoding=Encoding.BASE64,
        mode="0644",
    )


def test_a_control_is_what_was_sent():
    """With the defaults of what was left out; null is the login."""
    whole = RESTART | {"probe": {"tcp_port": 80}, "run_as": None}

    assert ServiceControlBody(**RESTART).spec() == ServiceControl(
        unit="nginx", action=Action.RESTART, run_as="root"
    )
    assert ServiceControlBody(**whole).spec() == ServiceControl(
        unit="nginx", action=Action.RESTART, probe=Probe(tcp_port=80), run_as=None
    )


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        (FileTransferBody, UPLOAD),
        (ServiceControlBody, RESTART | {"probe": {"tcp_port": 80}}),
    ],
)
def test_what_is_on_record_can_be_sent_again(model, sent):
    """As a PATCH does with what it leaves alone."""
    spec = model(**sent).spec()

    assert model.model_validate(spec.to_dict()).spec() == spec
    assert model.model_validate(json.loads(json.dumps(spec.to_dict()))).spec() == spec


@pytest.mark.parametrize(
    ("model", "sent", "field", "message"),
    [
        (FileTransferBody, UPLOAD | {"resume": True}, ("resume",), "not there yet"),
        (FileTransferBody, UPLOAD | {"resume": False}, ("resume",), "not there yet"),
        (ServiceControlBody, RESTART | {"init": "sysv"}, ("init",), "SysV"),
        (
            ServiceControlBody,
            RESTART | {"probe": {"tcp_port": 80, "http": {"path": "/"}}},
            ("probe", "http"),
            "by HTTP are not there yet",
        ),
        (FileTransferBody, UPLOAD | {"recursive": True}, ("recursive",), "not permit"),
        (ServiceControlBody, RESTART | {"wait_s": "30"}, ("wait_s",), "integer"),
        (ServiceControlBody, RESTART | {"wait_s": True}, ("wait_s",), "integer"),
        (ServiceControlBody, RESTART | {"action": "mask"}, ("action",), "'start'"),
    ],
)
def test_what_is_not_there_is_refused_by_its_name(model, sent, field, message):
    """Later issues' fields say so; others are not known; types are as they are."""
    with pytest.raises(ValidationError) as refused:
        model(**sent)

    (error,) = refused.value.errors()
    assert error["loc"] == field
    assert message in error["msg"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (FileTransferBody(**UPLOAD | {"path": "../a"}), "spec.path"),
        (FileTransferBody(**UPLOAD | {"object_key": "k"}), "spec.content"),
        (ServiceControlBody(**RESTART | {"unit": "-h"}), "spec.unit"),
        (
            ServiceControlBody(**RESTART | {"probe": {"tcp_port": 0}}),
            "spec.probe.tcp_port",
        ),
    ],
)
def test_a_bad_value_is_refused_by_its_place_in_the_request(body, field):
    """As every other field of a task."""
    with pytest.raises(Invalid) as refused:
        body.spec()
    assert refused.value.field == field
