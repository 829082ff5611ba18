"""Addresses that cronhop never connects to.

A server's host is typed by a user, and an executor in a cloud account reaches
things that this user should not: the runtime's own API on loopback, the metadata
service on a link-local address. Private ranges are where servers are, so they are
fine; what only the machine itself or the cloud's plumbing answers on is not.

A name is checked twice: as it is written (`check_host`), and what it resolves to
at every connect (`is_refused`), because a name may lead elsewhere tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from cronhop.errors import Invalid

_REFUSED_4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # "this host": connects to loopback on Linux
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local: metadata, task credentials, time, DNS
        "192.0.0.0/24",  # reserved for protocols (RFC 6890)
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_REFUSED_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "::/8",  # unspecified, loopback, old embeddings of IPv4
        "64:ff9b:1::/48",  # local translation (RFC 8215)
        "100::/64",  # discard (RFC 6666)
        "fd00:ec2::/32",  # the cloud's own: metadata is fd00:ec2::254
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, deprecated
        "ff00::/8",  # multicast
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052

_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_MAX_HOST: Final = 253  # characters, RFC 1035


def check_host(
    host: str, *, allowed: Sequence[str] = (), refused: Sequence[str] = ()
) -> None:
    """Ensure that `host`, as a user wrote it, may be a server's host.

    `allowed` and `refused` are those of `is_refused`. Raises `Invalid` for what is
    no host at all and for a refused address in any spelling that a resolver would
    accept (`2852039166`, `127.1`, `0xa9.0xfe.0xa9.0xfe`).
    """
    if not host:
        raise Invalid("host", "is empty")
    if len(host) > _MAX_HOST:
        raise Invalid("host", f"is longer than {_MAX_HOST} characters")
    address = literal(host)
    if address is None:
        _check_name(host, allowed, refused)
    elif is_refused(address, allowed=allowed, refused=refused):
        raise Invalid("host", f"{address} is an address that is never connected to")


def is_refused(
    address: str, *, allowed: Sequence[str] = (), refused: Sequence[str] = ()
) -> bool:
    """Return whether a resolved address must not be connected to.

    1. what lies in the networks `refused` is, whatever else is said
    2. what lies in the networks `allowed` (`127.0.0.1/32`) is not
    3. what is loopback, link-local or the like is

    Text that is no address is refused.
    """
    try:
        parsed = _parse(address)
    except ValueError:
        return True
    forms = _forms(parsed)
    if _lies_in([parsed, *forms], refused):
        return True
    if _lies_in(forms, allowed):
        return False
    return any(_is_special(form) for form in forms)


def is_within(address: str, networks: Sequence[str]) -> bool:
    """Return whether an address lies in one of the networks."""
    return _lies_in(_forms(_parse(address)), networks)


def literal(host: str) -> str | None:
    """Return the address that `host` spells in its plain form, None for a name.

    Raises `Invalid` if it looks like an address and is none, so that no resolver
    gets to have its own opinion.
    """
    text = host
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            raise Invalid("host", "only an IPv6 address is written in brackets")
    try:
        if ":" in text:
            return str(IPv6Address(text))
        numbers = text.removesuffix(".").split(".")
        if not _NUMBER.fullmatch(numbers[-1]):
            return None
        return str(_legacy_ipv4(numbers))
    except ValueError:
        raise Invalid("host", "is neither a name nor an address") from None


def _lies_in(
    forms: Sequence[IPv4Address | IPv6Address], networks: Sequence[str]
) -> bool:
    """Return whether a form of the address lies in one of the networks."""
    parsed = [ip_network(network, strict=False) for network in networks]
    return any(form in network for form in forms for network in parsed)


def _check_name(host: str, allowed: Sequence[str], refused: Sequence[str]) -> None:
    """Ensure that `host` is a DNS name, and not one of the machine itself."""
    labels = host.removesuffix(".").split(".")
    if not all(_NAME.fullmatch(label) for label in labels):
        raise Invalid(
            "host", "may have letters, digits, '-', '_' and '.' only (IDN as xn--…)"
        )
    if labels[-1].lower() == "localhost" and is_refused(
        "127.0.0.1", allowed=allowed, refused=refused
    ):
        raise Invalid("host", "localhost is never connected to")


def _legacy_ipv4(numbers: list[str]) -> IPv4Address:
    """Return the address of up to four numbers, as inet_aton(3) reads them.

    Each is decimal, octal (`0…`) or hexadecimal (`0x…`); the last one fills all the
    bytes that are left. Raises ValueError.
    """
    if len(numbers) > 4:  # noqa: PLR2004  # bytes of an address
        raise ValueError("too many numbers")
    values = [_legacy_number(number) for number in numbers]
    value = values[-1]
    if value >= 256 ** (5 - len(values)) or any(byte > 255 for byte in values[:-1]):  # noqa: PLR2004
        raise ValueError("number too large")
    for position, byte in enumerate(values[:-1]):
        value += byte << (24 - 8 * position)
    return IPv4Address(value)


def _legacy_number(text: str) -> int:
    """Return the value of one number of an old-style address."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


def _parse(address: str) -> IPv4Address | IPv6Address:
    """Return the address of a resolver's text, which may have a zone id."""
    text = address.partition("%")[0]
    return IPv6Address(text) if ":" in text else IPv4Address(text)


def _forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that packets to `address` may end at.

    An IPv6 address can carry an IPv4 address: mapped, translated (NAT64) or
    tunnelled (6to4, Teredo).
    """
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address.teredo is not None:
        return [address, *address.teredo]
    return [address]


def _is_special(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is loopback, link-local, multicast or the like."""
    if isinstance(address, IPv4Address):
        return any(address in network for network in _REFUSED_4)
    return address.is_reserved or any(address in network for network in _REFUSED_6)
