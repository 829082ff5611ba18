"""Service controls: which ones can be meant."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.service import Action, Probe, ServiceControl
from cronhop.errors import Invalid


def control(**changes):
    return ServiceControl(**{"unit": "nginx", "action": Action.RESTART} | changes)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("nginx", "nginx.service"),
        ("nginx.service", "nginx.service"),
        ("getty@tty1", "getty@tty1.service"),
        ("logrotate.timer", "logrotate.timer"),
        ("a.b", "a.b.service"),
        ("dev-disk\\x2dby.swap", "dev-disk\\x2dby.swap"),
        ("_x", "_x.service"),
    ],
)
def test_a_unit_without_a_type_is_a_service(unit, name):
    """As systemctl has it."""
    spec = control(unit=unit)

    spec.check()

    assert spec.unit_name == name


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        *[("unit", {"unit": unit}) for unit in ("", "-h", "--all", ".a", "a b", "a/b")],
        *[("unit", {"unit": unit}) for unit in ("*", "a\n", "a\0", "a;b", "ü", "$(a)")],
        ("unit", {"unit": "a" * 248}),
        ("wait_s", {"wait_s": 0}),
        ("wait_s", {"wait_s": 3601}),
        ("journal_lines", {"journal_lines": -1}),
        ("journal_lines", {"journal_lines": 201}),
        ("run_as", {"run_as": ""}),
        ("run_as", {"run_as": "-u"}),
        ("run_as", {"run_as": "a b"}),
        ("probe", {"action": Action.STOP, "probe": Probe(tcp_port=80)}),
        ("probe", {"action": Action.ENABLE, "probe": Probe(tcp_port=80)}),
        ("probe.tcp_port", {"probe": Probe(tcp_port=0)}),
        ("probe.tcp_port", {"probe": Probe(tcp_port=65536)}),
        ("probe.wait_s", {"probe": Probe(tcp_port=80, wait_s=0)}),
    ],
)
def test_a_bad_control_is_refused_by_its_field(field, changes):
    """The field at fault is named."""
    with pytest.raises(Invalid) as refused:
        control(**changes).check()
    assert refused.value.field == field


@given(st.text())
def test_a_unit_is_never_an_option_nor_a_pattern(unit):
    """Whatever passes begins with no dash and has nothing that a shell reads."""
    try:
        control(unit=unit).check()
    except Invalid:
        return
    assert re.fullmatch(r"[a-zA-Z0-9_:@][a-zA-Z0-9_:@.\\-]*", unit, re.ASCII)


@pytest.mark.parametrize(
    "spec",
    [
        control(),
        control(probe=Probe(tcp_port=80), run_as=None, wait_s=5, journal_lines=0),
    ],
)
def test_it_survives_the_store(spec):
    """Plain values out, the same thing back."""
    plain = json.loads(json.dumps(spec.to_dict()))

    assert ServiceControl.from_dict(plain) == spec
