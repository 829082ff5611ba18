"""Masking: secrets are replaced, everything else is left as it came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.mask import forms, mask


def test_secret_is_replaced_by_as_many_stars():
    """Offsets do not move."""
    assert mask(b"a secret, a secret", [b"secret"]) == b"a ******, a ******"


def test_overlapping_secrets_are_masked_as_a_whole():
    """Neither end of two secrets in each other shows."""
    assert mask(b"xabcdy", [b"abc", b"bcd"]) == b"x****y"
    assert mask(b"aaa", [b"aa"]) == b"***"


def test_empty_secret_masks_nothing():
    """An empty value is nowhere."""
    assert mask(b"text", [b""]) == b"text"


@given(st.binary(), st.lists(st.binary(min_size=1), max_size=4))
def test_no_secret_is_left(data, secrets):
    """Whatever is masked holds no secret, is as long, and differs only in stars."""
    masked = mask(data, secrets)

    assert len(masked) == len(data)
    for before, after in zip(data, masked, strict=True):
        assert after in {before, ord("*")}
    for secret in secrets:
        if b"*" not in secret:
            assert secret not in masked
    if not any(secret in data for secret in secrets):
        assert masked == data


def masked_byte_by_byte(data, secret):
    """What mask is, said in the slowest way."""
    result = bytearray(data)
    for at in range(len(data) - len(secret) + 1):
        if data[at : at + len(secret)] == secret:
            result[at : at + len(secret)] = b"*" * len(secret)
    return bytes(result)


@given(
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"aba", b"aab"]), max_size=12),
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"aba"]), min_size=1, max_size=5),
)
def test_secrets_that_repeat_themselves_are_masked(parts, secret):
    """Wherever they overlap with themselves."""
    data = b"".join(parts)

    assert mask(data, [b"".join(secret)]) == masked_byte_by_byte(data, b"".join(secret))


@pytest.mark.parametrize("secret", [b"a" * 4096, b"a" * 64, b"a", b"ab" * 2048])
@pytest.mark.timeout(20)
def test_long_runs_of_a_secret_take_no_time(secret):
    """A secret at every byte costs as little as one: it took minutes."""
    data = secret * (2**23 // len(secret))

    assert mask(data, [secret]) == b"*" * len(data)


@pytest.mark.parametrize(
    ("secret", "shown", "masked"),
    [
        (b"tail-secret\n", b"[tail-secret]", b"[***********]"),
        (b"first line\r\nsecond line", b"+ second line\n", b"+ ***********\n"),
        (b"{\n 'user': 1\n}\n", b"{}\n 'user': 1\n", b"{}\n**********\n"),
    ],
)
def test_a_secret_is_masked_as_shells_and_tools_show_it(secret, shown, masked):
    """Without the newline at its end, and line by line."""
    assert mask(shown, forms(secret)) == masked
