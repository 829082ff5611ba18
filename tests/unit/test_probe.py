"""What a host says of itself: read where it makes sense, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.errors import ProtocolError
from cronhop.ssh.probe import HostFacts, read_facts

MARKER = "5f2a"
ANSWER = """Welcome to the machine
MARK began 1764000000.250000000
MARK system Linux 6.1.0 x86_64 Debian GNU/Linux 12 (bookworm)
MARK writable yes
MARK blocks /dev/sda 1 disk  41152736 10000000 29000000  26% /home dir
MARK inodes overlay 2621440 200000 2421440    8% /
MARK setsid yes
MARK proc yes
MARK sudo no
MARK ended 1764000001.750000000
"""


def facts(answer):
    return read_facts(answer.replace("MARK", MARKER).encode(), MARKER)


def test_an_answer_is_read():
    """Every fact is found, whatever the login shell printed before."""
    assert facts(ANSWER) == HostFacts(
        is_writable=True,
        free_bytes=29000000 * 1024,
        free_inodes=2421440,
        has_setsid=True,
        has_proc=True,
        sudo="no",
        system="Linux 6.1.0 x86_64 Debian GNU/Linux 12 (bookworm)",
        middle=1764000001.0,
    )


@pytest.mark.parametrize(
    ("line", "said", "name", "value"),
    [
        ("began 1764000000.250000000", "began 1764000001", "middle", 1764000001.625),
        ("began 1764000000.250000000", "began 1764000001.N", "middle", 1764000001.625),
        ("began 1764000000.250000000", "began x", "middle", 1764000001.75),
        ("2621440 200000 2421440    8%", "0 0 0 -", "free_inodes", None),
        ("2621440 200000 2421440    8%", "1 2 3 4 5 6", "free_inodes", None),
        ("inodes overlay", "nodes", "free_inodes", None),
        ("sudo no", "sudo rm", "sudo", None),
        ("Linux 6.1.0", "\x1b[2J" + "L" * 900, "system", "[2J" + "L" * 197),
        ("writable yes", "writable", "is_writable", False),
    ],
)
def test_what_makes_no_sense_is_not_known(line, said, name, value):
    """An odd value is None, and the others stay."""
    assert line in ANSWER
    assert getattr(facts(ANSWER.replace(line, said)), name) == value


@pytest.mark.parametrize("answer", ["", "Welcome\n", ANSWER.replace("ended", "x")])
def test_an_answer_that_is_none_is_refused(answer):
    """Without the last line the host has not answered."""
    with pytest.raises(ProtocolError):
        facts(answer)


@given(st.binary(), st.lists(st.tuples(st.sampled_from(ANSWER.split()), st.text())))
def test_any_bytes_are_read_or_refused(noise, said):
    """Whatever a host answers, nothing else is raised."""
    lines = "".join(f"\n{MARKER} {name} {value}" for name, value in said)
    try:
        read_facts(noise + lines.encode("utf-8", "replace"), MARKER)
    except ProtocolError:
        return
