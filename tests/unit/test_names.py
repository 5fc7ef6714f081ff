import pytest

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import UnsafePath


@pytest.mark.parametrize(
    ("path", "tail"),
    [
        ("a b.ipynb", "a b.ipynb"),
        ("""it's "q" #1?x=y&z+.txt""", """it's "q" #1?x=y&z+.txt"""),
        ("100%.txt", "100%25.txt"),
        ("%2E%2E/x", "%252E%252E/x"),
        ("line\nbreak", "line%0Abreak"),
        ("back\\slash", "back%5Cslash"),
        ("d\x7fl", "d%7Fl"),
        ("odd\ufffeone\uffff", "odd%EF%BF%BEone%EF%BF%BF"),
        ("a\u0308/\u00e4/日本", "a\u0308/\u00e4/日本"),
        ("...", "..."),
        ("~x[1]{2}", "~x[1]{2}"),
    ],
)
def test_a_path_becomes_a_readable_key_and_comes_back(path: str, tail: str) -> None:
    assert names.escape_path(path) == tail
    assert names.unescape_path(tail) == path


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a\0b", "\udcff.txt"]
)
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        names.escape_path(path)


@pytest.mark.parametrize(
    "tail",
    [
        "..",
        "a/../b",
        "/a",
        "%2E%2E/a",
        "%2e%2e",
        "a%2Fb",
        "%2Fetc",
        "a%00b",
        "%FF",
        "%41",
        "%0a",
        "raw\\backslash",
        "lone%",
        names.TREE_KEY,
    ],
)
def test_a_key_that_was_not_written_by_escape_is_refused(tail: str) -> None:
    with pytest.raises(UnsafePath):
        names.unescape_path(tail)


def test_an_owner_is_its_own_label_where_it_can_be() -> None:
    assert names.owner_label("ada") == "ada"


@pytest.mark.parametrize(
    "owner",
    ["Ada", "ada@example.org", "ädä", "", "-", "x" * 200, "ada--0123456789", "\udcff", "a_b"],
)
def test_other_owners_get_a_slug_that_is_a_label_and_collides_with_none(owner: str) -> None:
    label = names.owner_label(owner)
    assert len(label) <= 63
    assert label != names.owner_label(f"{owner}x")
    assert names.owner_label(label) != label
