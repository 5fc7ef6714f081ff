"""The shared folder, in the hands of someone hostile."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from notebook_job.volume import Found, Refused, Volume

SECRET = "AWS_SECRET_ACCESS_KEY=planted"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside the folder."""
    path = tmp_path / "environ"
    path.write_text(SECRET)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder itself."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def volume(root: Path) -> Volume:
    """The folder as the program sees it."""
    return Volume(root)


def found(volume: Volume) -> dict[str, str]:
    """What a walk meets: why each is refused, "" for what isn't."""
    return {entry.path: entry.refused for entry in volume.walk()}


def test_a_link_is_never_followed(volume: Volume, root: Path, secret: Path) -> None:
    (root / "out.csv").symlink_to(secret)
    (root / "folder").symlink_to(secret.parent)

    for path in ("out.csv", "folder/environ"):
        with pytest.raises(Refused):
            volume.read(path, 1000)
    assert found(volume) == {"out.csv": "it is a link", "folder": "it is a link"}
    assert volume.mark("out.csv") is None


def test_the_folder_itself_is_no_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)

    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        Volume(tmp_path / "link")


def test_what_is_no_file_neither_blocks_nor_counts(volume: Volume, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with tempfile.TemporaryDirectory() as short:
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{short}/socket")
        Path(f"{short}/socket").rename(root / "socket")
        server.close()

    with pytest.raises(Refused, match="pipe"):
        volume.read("pipe", 1000)
    with pytest.raises(Refused):
        volume.read("socket", 1000)
    assert found(volume) == {"pipe": "it is a pipe", "socket": "it is a socket"}


def test_another_name_of_a_file_is_a_file(volume: Volume, root: Path) -> None:
    (root / "one").write_text("same")
    os.link(root / "one", root / "two")

    assert found(volume) == {"one": "", "two": ""}
    assert volume.read("two", 10) == b"same"


def test_what_cannot_be_read_is_refused(volume: Volume, root: Path) -> None:
    (root / "folder").mkdir()

    with pytest.raises(Refused, match="not a regular file"):
        volume.read("folder", 10)
    with pytest.raises(Refused, match="no such file"):
        volume.read("folder/none", 10)


def test_a_size_has_a_limit_whatever_the_file_says(volume: Volume, root: Path) -> None:
    (root / "large").write_bytes(b"x" * 11)

    assert volume.read("large", 11) == b"x" * 11
    with pytest.raises(Refused, match="larger than 10 bytes"):
        volume.read("large", 10)


def test_a_file_that_grows_is_cut_at_the_limit(volume: Volume, root: Path) -> None:
    path = root / "log"
    path.write_bytes(b"1234")

    pieces = []
    for piece in volume.chunks("log", 10, size=4):
        pieces.append(piece)
        with path.open("ab") as file:
            file.write(b"more")

    assert b"".join(pieces) == b"1234moremo"


def test_a_file_that_shrinks_ends(volume: Volume, root: Path) -> None:
    path = root / "data"
    path.write_bytes(b"12345678")

    pieces = []
    for piece in volume.chunks("data", 100, size=4):
        pieces.append(piece)
        os.truncate(path, 4)

    assert pieces == [b"1234"]


def test_names_of_any_bytes_are_met(volume: Volume, root: Path) -> None:
    os.close(os.open(os.fsencode(root) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))

    (entry,) = volume.walk()

    assert os.fsencode(entry.path) == b"\xff\xfe"


def test_folders_without_end_end(volume: Volume, root: Path) -> None:
    folder = os.open(root, os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)

    (entry,) = volume.walk()

    assert entry.refused == "its folders are too deep"


def test_folders_of_caches_are_left_out(volume: Volume, root: Path) -> None:
    (root / "a" / "__pycache__").mkdir(parents=True)
    (root / "a" / "__pycache__" / "m.pyc").write_text("")
    (root / "a" / "b").write_text("")

    assert [entry.path for entry in volume.walk(frozenset({"__pycache__"}))] == ["a/b"]


def test_a_change_shows(volume: Volume, root: Path) -> None:
    path = root / "data"
    path.write_text("before")
    before = volume.mark("data")

    status = path.stat()
    path.write_text("behind")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert volume.mark("data") != before
    assert list(volume.walk()) == [Found("data", mark=volume.mark("data"))]


def test_nothing_is_written_through_a_link(volume: Volume, root: Path, tmp_path: Path) -> None:
    (root / "folder").symlink_to(tmp_path)
    (root / "file").symlink_to(tmp_path / "elsewhere")

    for path in ("folder/new", "file"):
        with pytest.raises(Refused):
            volume.create(path)
    with pytest.raises(Refused):
        volume.make_folder("folder/below")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["work"]


def test_a_file_is_written_whole_and_once(volume: Volume, root: Path) -> None:
    volume.write("a/b/c.json", b"{}")

    assert (root / "a/b/c.json").read_bytes() == b"{}"
    assert [path.name for path in (root / "a/b").iterdir()] == ["c.json"]
    os.close(volume.create("run", executable=True))
    with pytest.raises(Refused, match="file exists"):
        volume.create("run")
    assert (root / "run").stat().st_mode & 0o100


def test_the_end_of_a_file(volume: Volume, root: Path) -> None:
    (root / "log").write_text("one\ntwo\n")

    assert volume.tail("log", 4) == b"two\n"
    assert volume.tail("log", 400) == b"one\ntwo\n"
