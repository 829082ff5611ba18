"""Which hosts and addresses are refused."""

import pytest

from cronhop.domain.address import check_host, is_refused, literal
from cronhop.errors import Invalid

REFUSED = [
    "127.0.0.1",
    "127.1",
    "0",
    "0.0.0.0",
    "2852039166",
    "0xa9.0xfe.0xa9.0xfe",
    "0xA9FEA9FE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.254.169.254",
    "169.254.169.254.",
    "127.0.0.1.",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.8",
    "::",
    "::1",
    "[::1]",
    "::1%lo",
    "fe80::1",
    "fe80::1%eth0",
    "[fe80::1%eth0]",
    "ff02::1",
    "fd00:ec2::254",
    "FD00:0EC2:0:0:0:0:0:254",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "2002:a9fe:a9fe::1",
    "2002:7f00:0001::",
    "2001:0:a9fe:a9fe::1",  # Teredo, server
    "2001:0:808:808:0:0:5601:5601",  # Teredo, client 169.254.169.254
    "localhost",
    "LOCALHOST.",
    "db.localhost",
]
MALFORMED = [
    "",
    "a" * 254,
    "a" * 64 + ".example.com",
    "web 1",
    "web\n1",
    "web/1",
    "user@web",
    "web:22",
    "$(id)",
    "-oProxyCommand=id",
    "web-.example.com",
    "a..b",
    ".",
    "1.2.3.4.5",
    "1.2.3.256",
    "08.1.1.1",
    "web.0x",
    "4294967296",
    "999.1.1.1",
    "[10.0.0.1]",
    "[web]",
    "①②⑦.⓪.⓪.①",
    "wéb",
    "gggg::1",
    "1::2::3",
]
FINE = [
    "10.0.3.7",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.9",
    "8.8.8.8",
    "192.0.2.1",
    "fc00::1",
    "fd12:3456::1",
    "2600:1f18::5",
    "[2600:1f18::5]",
    "::ffff:10.0.0.1",
    "64:ff9b::8.8.8.8",
    "web-1",
    "web_1.internal",
    "xn--wb-bja.example.com.",
    "ip-10-0-3-7.eu-central-1.compute.internal",
    "3com.example",
    "localhost.example.com",
    "0xcafe.example.com",
]


@pytest.mark.parametrize("host", REFUSED)
def test_it_refuses_special_addresses_in_any_spelling(host):
    """What only the machine or its cloud answers on is refused, however written."""
    with pytest.raises(Invalid) as caught:
        check_host(host)

    assert caught.value.field == "host"


@pytest.mark.parametrize("host", MALFORMED)
def test_it_refuses_what_is_no_host(host):
    """What is neither a name nor an address is refused."""
    with pytest.raises(Invalid):
        check_host(host)


@pytest.mark.parametrize("host", FINE)
def test_it_takes_names_and_private_addresses(host):
    """Servers have names, and addresses in private ranges."""
    check_host(host)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", ["127.0.0.1/32"]),
        ("127.1", ["127.0.0.1/32"]),
        ("::ffff:127.0.0.1", ["127.0.0.1/32"]),
        ("localhost", ["127.0.0.0/8"]),
        ("::1", ["127.0.0.1/32", "::1/128"]),
        ("169.254.7.7", ["169.254.7.0/24"]),
    ],
)
def test_allowed_networks_are_fine(host, allowed):
    """A network that is named as allowed is connected to."""
    check_host(host, allowed=allowed)


def test_allowing_one_address_allows_no_other():
    """The list is exact."""
    assert is_refused("127.0.0.2", allowed=["127.0.0.1/32"])
    assert is_refused("::1", allowed=["127.0.0.1/32"])


@pytest.mark.parametrize("address", ["fe80::1%eth0", "web", "", "127.1", "10.0.0"])
def test_a_resolved_address_that_is_none_is_refused(address):
    """Nobody guesses what a resolver meant."""
    assert is_refused(address)


def test_literal_returns_the_plain_form():
    """One spelling for each address, None for a name."""
    assert literal("0x0a.3") == "10.0.0.3"
    assert literal("[2600:1F18::5]") == "2600:1f18::5"
    assert literal("web-1") is None


@pytest.mark.parametrize(
    "host",
    [
        "10.0.9.7",
        "10.0.2311",
        "::ffff:10.0.9.7",
        "64:ff9b::10.0.9.7",
        "2002:a00:907::1",
        "127.0.0.9",
        "fd12::7",
        "2001:db8::1",
    ],
)
def test_refused_networks_are_refused_whatever_else_is_said(host):
    """In every form of the address, and also where they are allowed."""
    refused = ("10.0.9.0/24", "127.0.0.9/32", "fd12::/64", "2001:db8::/32")
    allowed = ("10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "2001:db8::/32")

    with pytest.raises(Invalid) as caught:
        check_host(host, allowed=allowed, refused=refused)
    assert caught.value.field == "host"


def test_refused_networks_take_nothing_else():
    """What lies beside them is judged as before."""
    refused = ("10.0.9.0/24",)

    assert not is_refused("10.0.8.255", refused=refused)
    assert not is_refused("127.0.0.1", allowed=("127.0.0.1/32",), refused=refused)
    assert is_refused("127.0.0.1", refused=refused)
    with pytest.raises(Invalid):
        check_host("localhost", allowed=("127.0.0.0/8",), refused=("127.0.0.1/32",))
