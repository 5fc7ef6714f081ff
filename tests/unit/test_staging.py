import os
import socket
from pathlib import Path

import pytest
from jupyter_scheduler.exceptions import InputUriError

from jupyter_scheduler_k8s.errors import BackendError, UnsafePath
from jupyter_scheduler_k8s.staging import StagedTree, check_filename, stage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    write(folder / "proj/nb.ipynb", "{}")
    write(tmp_path / "outside/secret.txt", "secret")
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def packaged(root: Path, uri: str = "proj/nb.ipynb", *, outputs: str = "jobs") -> StagedTree:
    return stage(str(root), uri, package=True, output_directory=outputs)


def single(root: Path, uri: str) -> StagedTree:
    return stage(str(root), uri, package=False, output_directory="jobs")


def contents(tree: StagedTree) -> dict[str, str]:
    found = {}
    for file in tree.files:
        with file.open() as opened:
            found[file.path] = opened.read().decode()
    return found


@pytest.mark.parametrize(
    "name",
    [
        "nb.ipynb",
        'a b\'s "c" #1 100%.ipynb',
        "Bücher 日本.ipynb",
        "line\nbreak.ipynb",
        "back\\s.ipynb",
    ],
)
def test_one_notebook_of_any_name_is_sent(root: Path, name: str) -> None:
    write(root / "sub" / name, "it")
    tree = single(root, f"sub/{name}")
    assert tree.notebook == name
    assert contents(tree) == {name: "it"}
    assert tree.packaged_files == []
    assert tree.tree_object() is None


def test_a_folder_is_sent_with_its_sub_folders(root: Path) -> None:
    write(root / "proj/data/deep/x.csv", "1")
    write(root / "proj/.hidden", "2")
    (root / "proj/empty/below").mkdir(parents=True)
    write(root / "proj/run.sh", "3").chmod(0o755)
    tree = packaged(root)
    assert contents(tree) == {
        "nb.ipynb": "{}",
        "data/deep/x.csv": "1",
        ".hidden": "2",
        "run.sh": "3",
    }
    assert tree.packaged_files == [".hidden", "data/deep/x.csv", "run.sh"]
    assert tree.folders == ("empty/below",)
    assert tree.tree_object() == b'{"folders": ["empty/below"], "executables": ["run.sh"]}'


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "../outside/secret.txt", "proj/../../outside/secret.txt", "", "a\0b"]
)
def test_a_notebook_outside_the_root_is_refused(root: Path, uri: str) -> None:
    with pytest.raises(UnsafePath):
        single(root, uri)


@pytest.mark.parametrize("uri", ["proj/nothing.ipynb", "proj/nb.ipynb/x", "none/nb.ipynb"])
def test_a_notebook_that_is_not_there_is_named_as_upstream_names_it(root: Path, uri: str) -> None:
    with pytest.raises(InputUriError):
        single(root, uri)


def test_a_folder_is_said_to_be_one(root: Path) -> None:
    with pytest.raises(BackendError, match="proj is a folder"):
        single(root, "proj")


@pytest.mark.parametrize("package", [False, True])
@pytest.mark.parametrize("link", ["proj/out.ipynb", "linked"])
def test_a_notebook_reached_by_a_link_out_of_the_root_is_refused(
    root: Path, tmp_path: Path, link: str, package: bool
) -> None:
    target = tmp_path / "outside"
    (root / link).symlink_to(target if link == "linked" else target / "secret.txt")
    uri = "linked/secret.txt" if link == "linked" else link
    with pytest.raises(UnsafePath, match="leads out"):
        stage(str(root), uri, package=package, output_directory="jobs")


def test_a_link_out_of_the_root_in_the_folder_is_refused_by_name(
    root: Path, tmp_path: Path
) -> None:
    (root / "proj/data").mkdir()
    (root / "proj/data/leak").symlink_to(tmp_path / "outside/secret.txt")
    with pytest.raises(UnsafePath, match="'data/leak' is a link that leads out"):
        packaged(root)


def test_a_root_whose_name_begins_another_folders_name_holds_nothing_of_it(
    root: Path, tmp_path: Path
) -> None:
    write(tmp_path / "root-other/secret.txt", "secret")
    (root / "proj/leak").symlink_to(tmp_path / "root-other/secret.txt")
    with pytest.raises(UnsafePath):
        packaged(root)


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    write(root / "shared/data/x.csv", "1")
    (root / "proj/data").symlink_to("../shared/data")
    (root / "proj/one.csv").symlink_to(root / "shared/data/x.csv")
    assert contents(packaged(root)) == {"nb.ipynb": "{}", "data/x.csv": "1", "one.csv": "1"}


def test_a_linked_notebook_takes_the_neighbours_of_its_link_along(root: Path) -> None:
    write(root / "other/beside.txt", "1")
    (root / "other/linked.ipynb").symlink_to("../proj/nb.ipynb")
    tree = packaged(root, "other/linked.ipynb")
    assert tree.notebook == "linked.ipynb"
    assert contents(tree) == {"linked.ipynb": "{}", "beside.txt": "1"}


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(root)
    assert contents(packaged(tmp_path / "home")) == {"nb.ipynb": "{}"}


def test_loops_links_to_nothing_and_special_files_are_left_out(root: Path) -> None:
    (root / "proj/up").symlink_to("..")
    (root / "proj/self").symlink_to("self")
    (root / "proj/.#nb.ipynb").symlink_to("user@host.1234:5678")
    os.mkfifo(root / "proj/pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "proj/s"))
        tree = packaged(root)
    # `up` is the folder above, sent once: the way down again is the loop.
    assert contents(tree) == {"nb.ipynb": "{}"}
    assert set(tree.skipped) == {"up/proj", "self", ".#nb.ipynb", "pipe", "s"}


def test_checkpoints_and_the_output_folder_are_left_out(root: Path) -> None:
    write(root / "nb.ipynb", "top")
    write(root / "jobs/nb-1/nb-2026.ipynb", "old output")
    write(root / "proj/.ipynb_checkpoints/nb-checkpoint.ipynb", "copy")
    (root / "proj/again").symlink_to("../jobs")
    tree = packaged(root, "nb.ipynb")
    assert contents(tree) == {"nb.ipynb": "top", "proj/nb.ipynb": "{}"}
    assert tree.folders == ()


def test_a_notebook_in_the_output_folder_itself_is_sent(root: Path) -> None:
    write(root / "jobs/nb-1/nb-2026.ipynb", "old output")
    write(root / "jobs/top.ipynb", "top")
    assert contents(packaged(root, "jobs/nb-1/nb-2026.ipynb")) == {"nb-2026.ipynb": "old output"}
    assert "top.ipynb" in contents(packaged(root, "jobs/top.ipynb"))


def test_a_name_that_is_not_utf8_is_refused_by_name(root: Path) -> None:
    os.close(os.open(os.fsencode(root / "proj") + b"/\xff.txt", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(UnsafePath, match="not valid UTF-8"):
        packaged(root)


def test_a_path_too_long_for_s3_is_refused(root: Path) -> None:
    write(root / "proj" / ("ä" * 100) / ("ö" * 100) / ("ü" * 100) / ("x" * 200) / ("%" * 60), "1")
    with pytest.raises(UnsafePath, match="longer than S3 allows"):
        packaged(root)


def test_a_file_swapped_for_a_link_after_the_walk_is_not_read(root: Path, tmp_path: Path) -> None:
    data = write(root / "proj/data/x.csv", "1")
    (file,) = [file for file in packaged(root).files if file.path == "data/x.csv"]
    data.unlink()
    data.symlink_to(tmp_path / "outside/secret.txt")
    with pytest.raises(UnsafePath):
        file.open()
    data.unlink()
    data.parent.rmdir()
    data.parent.symlink_to(tmp_path / "outside")
    write(tmp_path / "outside/x.csv", "secret")
    with pytest.raises(UnsafePath):
        file.open()


def test_a_file_that_vanished_is_a_sentence(root: Path) -> None:
    (file,) = single(root, "proj/nb.ipynb").files
    (root / "proj/nb.ipynb").unlink()
    with pytest.raises(BackendError, match=r"'nb\.ipynb' vanished"):
        file.open()


def test_a_refusal_is_one_line_whatever_the_name(root: Path, tmp_path: Path) -> None:
    (root / "proj/line\nbreak").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePath) as caught:
        packaged(root)
    assert "\n" not in str(caught.value)
    assert r"line\nbreak" in str(caught.value)


def test_a_deep_tree_is_walked(root: Path) -> None:
    folder = root / "proj"
    for _ in range(300):
        folder /= "d"
    write(folder / "x", "1")
    tree = packaged(root)
    assert len(tree.files) == 2


@pytest.mark.parametrize("name", ["../x.ipynb", "a/b.ipynb", "/x", "..", ".", "", "a\0", "x" * 201])
def test_a_file_name_that_is_no_single_name_is_refused(name: str) -> None:
    with pytest.raises(UnsafePath):
        check_filename(name)
