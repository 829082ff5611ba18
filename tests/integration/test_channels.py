"""Channels and rules over the API: kept, changed, refused."""

import pytest

from cronhop.domain.notification import Occasion
from tests.integration.test_api import fields

TOPIC = "arn:aws:sns:eu-central-1:123456789012:test-ops"
HOOK = {"name": "hook", "kind": "webhook", "url": "https://hooks.example.org/x?y=1"}
RULE = {"name": "bad nights", "on": ["failure", "missed"], "channels": ["hook"]}


@pytest.fixture
def hook(api):
    made = api("POST", "/v1/channels", HOOK)
    assert made.status == 201, made.body
    return made.body


def test_a_channel_is_kept(api, hook):
    """As it was sent, and listed; its secret is a credential's name."""
    assert hook["url"] == HOOK["url"]
    assert hook["last_delivery"] is None
    api("POST", "/v1/credentials", {"name": "key", "password": "x1"})
    change = {
        "kind": "webhook",
        "url": "https://other.example.org/",
        "credential": "key",
    }
    changed = api("PUT", "/v1/channels/hook", change, headers={"if-match": '"1"'})
    assert (changed.status, changed.body["version"]) == (200, 2)
    assert changed.body["credential"] == "key"
    again = api("PUT", "/v1/channels/hook", change, headers={"if-match": '"1"'})
    assert again.status == 412
    listed = api("GET", "/v1/channels")
    assert listed.body["items"] == [changed.body]
    used = api("DELETE", "/v1/credentials/key")
    assert used.status == 409
    assert "channel hook" in used.body["detail"]
    assert api("POST", "/v1/channels", HOOK).status == 409
    assert api("DELETE", "/v1/channels/hook").status == 204
    assert api("GET", "/v1/channels/hook").status == 404


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("kind", {"kind": "pigeon"}),
        ("url", {"url": "http://hooks.example.org/"}),
        ("url", {"url": "https://me:pw@hooks.example.org/"}),
        ("url", {"url": "https://169.254.169.254/latest"}),
        ("url", {"url": "https://127.0.0.2/"}),
        ("url", {"url": "https://0xa9fea9fe/"}),
        ("url", {"url": "https://hooks.example.org/#x"}),
        ("url", {"url": "https://hooks.example.org:99999/"}),
        ("url", {"url": "https://[::1/"}),
        ("url", {"url": "https://hööks.example.org/"}),
        ("url", {"url": "https://x/" + "y" * 2000}),
        ("url", {"url": "file:///etc/passwd"}),
        ("url", {"url": None}),
        ("url", {"url": ""}),
        ("credential", {"credential": "none"}),
        ("credential", {"credential": ""}),
        ("credential", {"kind": "slack", "url": None, "credential": ""}),
        ("topic_arn", {"kind": "sns", "url": None, "topic_arn": ""}),
        ("topic_arn", {"topic_arn": TOPIC}),
        ("topic_arn", {"kind": "sns", "url": None}),
        (
            "topic_arn",
            {"kind": "sns", "url": None, "topic_arn": TOPIC.replace("test-", "")},
        ),
        ("url", {"kind": "sns", "topic_arn": TOPIC}),
        ("credential", {"kind": "slack", "url": None}),
        ("name", {"name": "a/b"}),
        ("secret", {"secret": "x"}),
    ],
)
def test_what_makes_no_channel_is_refused(api, field, body):
    """With the field at fault, and nothing is kept."""
    refused = api("POST", "/v1/channels", {**HOOK, **body})
    assert refused.status in {400, 422}, refused.body
    assert field in fields(refused)
    assert api("GET", "/v1/channels").body["items"] == []


def test_a_rule_is_kept(api, hook):
    """And keeps its channel."""
    made = api("POST", "/v1/rules", {**RULE, "name": "bad-nights"})
    assert made.status == 201, made.body
    assert made.body["late_s"] == 30
    assert made.body["task_id"] is None
    assert api("DELETE", "/v1/channels/hook").status == 409
    change = {"on": ["late"], "channels": ["hook"], "late_s": 5, "environment": "prod"}
    changed = api("PUT", "/v1/rules/bad-nights", change)
    assert (changed.body["on"], changed.body["environment"]) == (["late"], "prod")
    assert api("GET", "/v1/rules").body["items"] == [changed.body]
    assert api("DELETE", "/v1/rules/bad-nights").status == 204
    assert api("GET", "/v1/rules/bad-nights").status == 404


@pytest.mark.parametrize("occasion", sorted(set(Occasion) - {Occasion.TEST}))
def test_a_rule_for_each_occasion(api, hook, occasion):
    """It is shown as it was sent, and as the OpenAPI document tells."""
    made = api("POST", "/v1/rules", {**RULE, "name": "r", "on": [occasion.value]})

    assert (made.status, made.body["on"]) == (201, [occasion.value])
    assert api("GET", "/v1/rules").body["items"] == [made.body]


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("on", {"on": []}),
        ("on", {"on": ["test"]}),
        ("on", {"on": ["failure", "failure"]}),
        ("channels", {"channels": []}),
        ("channels", {"channels": ["hook", "hook"]}),
        ("channels", {"channels": ["none"]}),
        ("channels", {"channels": [""]}),
        ("task_id", {"task_id": ""}),
        ("task_id", {"task_id": "name#nightly"}),
        ("task_id", {"task_id": "01J0000000000000000000000A"}),
        ("late_s", {"late_s": 0}),
        ("late_s", {"late_s": "5"}),
        ("name", {"name": "bad nights"}),
    ],
)
def test_what_makes_no_rule_is_refused(world, api, hook, field, body):
    """With the field at fault, and nothing is kept."""
    world.add_task(world.add_server(), name="nightly")
    refused = api("POST", "/v1/rules", {**RULE, "name": "bad-nights", **body})
    assert refused.status in {400, 422}, refused.body
    assert any(one.startswith(field) for one in fields(refused)), refused.body
    assert api("GET", "/v1/rules").body["items"] == []


def test_channels_and_rules_are_few(api, hook, monkeypatch):
    """They are all read at once."""
    monkeypatch.setattr("cronhop.services.channels.MAX_CHANNELS", 1)
    full = api("POST", "/v1/channels", {**HOOK, "name": "other"})
    assert full.status == 409
    assert "1 channels already" in full.body["detail"]


def test_a_test_is_taken(api, hook):
    """What became of it is seen at the channel."""
    answer = api("POST", "/v1/channels/hook/test")
    assert answer.status == 202
    assert set(answer.body) == {"test_id"}
    assert api("POST", "/v1/channels/none/test").status == 404
