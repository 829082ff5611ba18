"""Roles: what groups grant, and where."""

import pytest

from cronhop.domain.access import (
    EVERYWHERE,
    GRANTS,
    STACK_WIDE,
    Action,
    Caller,
    Grant,
    Role,
    Scope,
    grants_of,
)
from cronhop.errors import Forbidden


def caller(*groups):
    return Caller(name="ada", subject="1", grants=grants_of(list(groups)))


@pytest.mark.parametrize(
    ("claim", "granted"),
    [
        ("[admin operator]", {"admin", "operator"}),
        ("[viewer]", {"viewer"}),
        ("viewer", {"viewer"}),
        (["viewer", "operator:staging"], {"viewer", "operator:staging"}),
        ("[operator:staging viewer:prod]", {"operator:staging", "viewer:prod"}),
        ("operator:a:b", {"operator:a:b"}),
        ("[team-7 viewer us-east-1_x_Google]", {"viewer"}),
        (["team 7", "viewer"], {"viewer"}),
    ],
)
def test_groups_grant_roles(claim, granted):
    """A list, one name, or the HTTP API's own writing of a list; others are ignored."""
    assert {str(grant) for grant in grants_of(claim)} == granted


@pytest.mark.parametrize(
    "claim",
    [
        *(None, True, 1, 1.5, {"admin": True}, {"groups": ["admin"]}, (), b"admin"),
        *([], ["admin", None], [["admin"]], [{"name": "admin"}], ["admin", 1]),
        *("", " ", "[]", "[", "[ ]", "[[admin]]", "[admin", "admin]", "[admin]]"),
        *(
            '["admin"]',
            '["admin", "operator"]',
            "[admin, operator]",
            "[admin,operator]",
        ),
        *(
            "admin operator",
            "admin,operator",
            " admin",
            "admin ",
            "admin\n",
            "[admin\n]",
        ),
        *("[admin\toperator]", "[admin\u2003operator]", "{admin}", "['admin']"),
        *(
            "Admin",
            "ADMIN",
            "administrator",
            "root",
            "*",
            "admin*",
            "\u0430dmin",
            "adm\0in",
        ),
        *("admin:", "operator:", ":staging", "operator/staging", "[operator: staging]"),
    ],
    ids=repr,
)
def test_other_shapes_grant_nothing(claim):
    """What cannot be read for sure gives no rights, not even those it seems to name."""
    assert grants_of(claim) == frozenset()


def test_each_role_may_what_the_one_before_may():
    """Viewer, operator, admin, in this order, and an admin everything."""
    assert GRANTS[Role.VIEWER] < GRANTS[Role.OPERATOR] < GRANTS[Role.ADMIN]
    assert set(GRANTS) == set(Role)
    assert GRANTS[Role.ADMIN] == set(Action)


def test_a_viewer_changes_nothing_and_sees_no_secrets():
    """What a viewer may is to read, but for credentials, channels and the audit."""
    reading = {action for action in Action if action.value.endswith(".read")}
    hidden = {
        Action.CREDENTIALS_READ,
        Action.NOTIFICATIONS_READ,
        Action.AUDIT_READ,
    }

    assert GRANTS[Role.VIEWER] == reading - hidden


def test_without_a_role_nothing():
    """Nobody's rights are none."""
    nobody = caller("team-7")

    assert nobody.actions == ()
    assert nobody.scope(Action.TASKS_READ) == Scope(environments=frozenset())
    assert not nobody.scope(Action.TASKS_READ).admits(None)


def test_limits_add_up():
    """Two limited roles are two environments, and what has none is in neither."""
    scope = caller("viewer:prod", "operator:staging").scope(Action.TASKS_READ)

    assert scope == Scope(environments=frozenset({"prod", "staging"}))
    assert scope.admits("prod")
    assert not scope.admits("test")
    assert not scope.admits(None)


def test_each_role_has_its_own_limit():
    """Who sees all and operates in one environment changes nothing elsewhere."""
    ada = caller("viewer", "operator:staging")

    assert ada.scope(Action.TASKS_READ) == EVERYWHERE
    assert ada.scope(Action.TASKS_WRITE) == Scope(environments=frozenset({"staging"}))
    assert ada.scope(Action.SERVERS_WRITE) == Scope(environments=frozenset())


@pytest.mark.parametrize("action", sorted(STACK_WIDE))
def test_what_concerns_all_is_not_for_the_limited(action):
    """An admin of one environment neither freezes the others nor knows their secrets."""
    assert not caller("admin:staging").may(action)
    assert caller("admin").may(action)


def test_where_somebody_may_put_something():
    """The refusal names what is theirs, and nothing else."""
    scope = caller("operator:staging").scope(Action.TASKS_WRITE)

    scope.require("staging")
    for other in ("prod", None):
        with pytest.raises(Forbidden, match=r"^environment: .* in staging only$"):
            scope.require(other)
    EVERYWHERE.require(None)


def test_a_grant_reads_as_its_group():
    """As the group's name is written."""
    assert str(Grant(role=Role.ADMIN)) == "admin"
    assert str(Grant(role=Role.ADMIN, environment="eu")) == "admin:eu"
