"""Parameters: which can be declared, which values fit, and what a command gets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.parameter import (
    MAX_INTEGER,
    Parameter,
    ParameterType,
    ParameterWord,
    check_complete,
    check_declared,
    check_values,
    fill,
    value_text,
)
from cronhop.domain.targets import Targets
from cronhop.domain.task import (
    CatchUp,
    Overlap,
    Script,
    TaskDefinition,
    TaskKind,
)
from cronhop.errors import Invalid


def parameter(kind="string", **changes):
    if kind == "enum":
        changes = {"values": ("blue", "green")} | changes
    return Parameter(**{"name": "P", "type": ParameterType(kind)} | changes)


def script(*parameters, targets=None, **changes):
    return TaskDefinition(
        name="deploy",
        kind=TaskKind.SCRIPT,
        spec=Script(**{"command": "true"} | changes),
        targets=targets or Targets(server_ids=("01J",)),
        schedule=None,
        timeout_s=60,
        kill_grace_s=2,
        overlap=Overlap.SKIP,
        start_deadline_s=600,
        catch_up=CatchUp.ONE,
        enabled=True,
        parameters=parameters,
    )


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("string", {}),
        ("string", {"default": ""}),
        ("string", {"default": "v1", "pattern": r"v\d+", "max_length": 2}),
        ("string", {"default": "a\nb\n"}),
        ("enum", {"default": "green"}),
        ("enum", {"values": ("",), "default": ""}),
        ("integer", {"default": -3, "minimum": -3, "maximum": -3}),
        ("integer", {"default": 0}),
        ("boolean", {"default": False}),
        ("server", {"default": "web-1"}),
        ("secret", {"default": "db-pass"}),
    ],
)
def test_a_parameter_is_declared_and_kept(kind, changes):
    """Each type with what belongs to it, the same when it is read again as JSON."""
    declared = parameter(kind, **changes)

    check_declared([declared])

    plain = json.loads(json.dumps(declared.to_dict()))
    assert Parameter.from_dict(plain) == declared


@pytest.mark.parametrize(
    ("kind", "changes", "field"),
    [
        ("string", {"name": "1ST"}, "name"),
        ("string", {"name": "A-B"}, "name"),
        ("string", {"name": "CRONHOP_SLOT"}, "name"),
        ("string", {"name": "IFS"}, "name"),
        ("string", {"description": "x" * 201}, "description"),
        ("string", {"pattern": "["}, "pattern"),
        ("string", {"pattern": "a)|(b"}, "pattern"),
        ("string", {"pattern": "(?x)a#"}, "pattern"),
        ("string", {"pattern": r"(a)\1"}, "pattern"),
        ("string", {"pattern": "(?=a)b"}, "pattern"),
        ("string", {"pattern": "(a{1000}){1000}"}, "pattern"),
        ("string", {"pattern": "a" * 201}, "pattern"),
        ("string", {"max_length": 1001}, "max_length"),
        ("string", {"max_length": -1}, "max_length"),
        ("string", {"minimum": 0}, "minimum"),
        ("string", {"values": ("a",)}, "values"),
        ("string", {"default": 3}, "default"),
        ("string", {"default": "v1", "pattern": "v"}, "default"),
        ("enum", {"values": ()}, "values"),
        ("enum", {"values": ("a", "a")}, "values"),
        ("enum", {"values": ("a", "b\0")}, "values.1"),
        ("enum", {"values": tuple(map(str, range(101)))}, "values"),
        ("enum", {"default": "red"}, "default"),
        ("enum", {"pattern": "a"}, "pattern"),
        ("integer", {"minimum": 2, "maximum": 1}, "maximum"),
        ("integer", {"maximum": MAX_INTEGER + 1}, "maximum"),
        ("integer", {"default": 1, "minimum": 2}, "default"),
        ("integer", {"max_length": 1}, "max_length"),
        ("boolean", {"default": 1}, "default"),
        ("server", {"default": True}, "default"),
        ("secret", {"pattern": "a"}, "pattern"),
    ],
)
def test_a_bad_declaration_is_refused_by_its_field(kind, changes, field):
    """Under the number of the parameter."""
    with pytest.raises(Invalid) as refused:
        check_declared([parameter(name="FIRST"), parameter(kind, **changes)])

    assert refused.value.field == f"parameters.1.{field}"


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (parameter(), ""),
        (parameter(), "$(touch /tmp/x) `id` '\"\n-rf é🚀"),
        (parameter(max_length=1), "🚀"),
        (parameter(pattern="a|bc"), "bc"),
        (parameter(pattern="(?i)PROD"), "prod"),
        (parameter("enum"), "blue"),
        (parameter("integer"), -MAX_INTEGER),
        (parameter("integer", minimum=1, maximum=9), 9),
        (parameter("boolean"), True),
    ],
    ids=lambda one: None if isinstance(one, Parameter) else ascii(one),
)
def test_a_value_that_fits_is_taken(declared, value):
    """As it is."""
    check_values([declared], {"P": value})
    (filled,) = fill([declared], {"P": value})

    assert filled.default == value


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (parameter(), None),
        (parameter(), 3),
        (parameter(), ["a"]),
        (parameter(), "a\0b"),
        (parameter(), "\ud800"),
        (parameter(), "x" * 1001),
        (parameter(max_length=1), "ab"),
        (parameter(pattern="a|b"), "ab"),
        (parameter(pattern="a"), "a\n"),
        (parameter(pattern="(?m)a$"), "a\nb"),
        (parameter(pattern="(a+)+b"), "a" * 1000),
        (parameter(pattern=".*.*.*.*.*.*="), "a" * 1000),
        (parameter("enum"), "red"),
        (parameter("enum"), ["blue"]),
        (parameter("integer"), "3"),
        (parameter("integer"), 3.0),
        (parameter("integer"), True),
        (parameter("integer"), 10**400),
        (parameter("integer", minimum=1), 0),
        (parameter("boolean"), "true"),
        (parameter("boolean"), 1),
        (parameter("server"), 7),
        (parameter("secret"), {"password": "x"}),
    ],
    ids=lambda one: None if isinstance(one, Parameter) else ascii(one)[:20],
)
def test_a_value_that_does_not_fit_is_refused_by_name(declared, value):
    """Nothing is converted, and no pattern can keep us busy."""
    with pytest.raises(Invalid) as refused:
        check_values([declared], {"P": value})

    assert refused.value.field == "parameters.P"


def test_what_is_not_declared_is_refused():
    """A slip of the pen must not look like a value that counted."""
    with pytest.raises(Invalid) as refused:
        check_values([parameter()], {"p": "x"})

    assert refused.value.field == "parameters.p"


def test_what_has_no_value_is_named():
    """Also if another one has."""
    with pytest.raises(Invalid) as refused:
        check_complete([parameter(default=""), parameter(name="Q")])

    assert refused.value.field == "parameters.Q"


def test_there_are_twenty_at_most_each_once():
    """And each name once."""
    many = [parameter(name=f"P{number}") for number in range(21)]
    check_declared(many[:20])

    for parameters, field in (
        (many, "parameters"),
        ([*many[:2], many[0]], "parameters.2.name"),
    ):
        with pytest.raises(Invalid) as refused:
            check_declared(parameters)
        assert refused.value.field == field


def test_the_values_have_8_kib_at_most():
    """In bytes, defaults and given ones together."""
    parameters = [parameter(name=f"P{number}") for number in range(9)]
    values = {one.name: "é" * 500 for one in parameters}
    fits = dict(list(values.items())[:8]) | {"P8": "x" * 192}
    check_values(parameters, fits)

    for given_now, default in ((values, None), (fits, "x" * 193)):
        with pytest.raises(Invalid) as refused:
            check_values(
                [*parameters[:8], parameter(name="P8", default=default)],
                given_now if default is None else {**fits, "P8": default},
            )
        assert refused.value.field == "parameters"


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (-7, "-7"), ("é\n", "é\n")]
)
def test_a_command_gets_text(value, text):
    """Truths as shells and JSON write them."""
    assert value_text(value) == text


WORD = st.text(alphabet="abAé1_", min_size=1, max_size=4)


@given(WORD, WORD)
def test_a_pattern_is_anchored_at_both_ends(pattern, text):
    """One without special signs matches itself, and nothing else."""
    declared = parameter(pattern=pattern)
    check_declared([declared])

    def fits(value):
        try:
            check_values([declared], {"P": value})
        except Invalid:
            return False
        return True

    assert fits(pattern)
    assert fits(text) == (text == pattern)
    assert not fits(pattern + text)
    assert not fits(text + pattern)


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        (script(parameter(), environment={"P": "x"}), "parameters.0.name"),
        (script(parameter(), secrets={"P": "db-pass"}), "parameters.0.name"),
        (script(arguments=("a", ParameterWord(parameter="P"))), "spec.arguments.1"),
        (
            script(parameter("secret"), arguments=(ParameterWord(parameter="P"),)),
            "spec.arguments.0",
        ),
        (script(targets=Targets(parameter="P")), "targets.parameter"),
        (script(parameter(), targets=Targets(parameter="P")), "targets.parameter"),
    ],
    ids=["environment", "secrets", "unknown", "seen", "no-target", "no-server"],
)
def test_what_names_a_parameter_must_fit_it(definition, field):
    """A name has one meaning, and a secret is in no argument."""
    with pytest.raises(Invalid) as refused:
        definition.check_parameters()

    assert refused.value.field == field


def test_a_task_with_parameters_is_kept():
    """The same when it is read again as JSON, as it was before there were any."""
    definition = script(
        parameter(default="v1"),
        parameter("server", name="WHERE"),
        arguments=("-v", ParameterWord(parameter="P")),
        targets=Targets(parameter="WHERE"),
    )
    definition.check_parameters()

    plain = json.loads(json.dumps(definition.to_dict()))

    assert TaskDefinition.from_dict(plain) == definition
    del plain["parameters"]
    assert TaskDefinition.from_dict(plain).parameters == ()


def test_values_become_secrets_servers_and_targets():
    """What a task names is told by the values of its parameters too."""
    definition = script(
        parameter("secret", name="TOKEN", default="a"),
        parameter("server", name="WHERE"),
        targets=Targets(parameter="WHERE"),
        secrets={"PASS": "c"},
    )

    bound = definition.filled({"TOKEN": "b", "WHERE": "01J"})

    assert definition.secrets == {"PASS": "c", "TOKEN": "a"}
    assert bound.secrets == {"PASS": "c", "TOKEN": "b"}
    assert (definition.server_ids, bound.server_ids) == ((), ("01J",))
    assert bound.target_of(bound.targets) == "01J"
