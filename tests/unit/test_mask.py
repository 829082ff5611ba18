"""Masking: secrets are replaced, everything else is left as it came."""

from hypothesis import given
from hypothesis import strategies as st

from cronhop.domain.mask import mask


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
