"""Where uv comes from on a machine without venv and pip."""

from local.fetch_uv import Links, of_lock


def test_index_is_that_of_the_lock():
    """The project's own packages say where packages are."""
    assert of_lock().startswith("https://")


def test_only_links_with_a_digest_count():
    """A link without a digest, or one that was withdrawn, is no wheel."""
    links = Links()

    links.feed(
        '<a href="../a/uv-1.0-py3-none-any.whl#sha256=00">x</a>'
        '<a href="uv-2.0-py3-none-any.whl">x</a>'
        '<a href="uv-3.0-py3-none-any.whl#sha256=11" data-yanked="">x</a>'
    )

    assert links.wheels == {
        "uv-1.0-py3-none-any.whl": ("../a/uv-1.0-py3-none-any.whl", "00")
    }
