"""A run has one process that looks after it, and it shows when that is dead."""

import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_scheduler_k8s.errors import ConfigurationError
from jupyter_scheduler_k8s.stock.claim import Claim, staging_area

HOLD = """
import sys
from pathlib import Path
from jupyter_scheduler_k8s.stock.claim import Claim
claim = Claim(Path(sys.argv[1]), "a-1")
print(claim.take(), flush=True)
sys.stdin.read()
"""


def test_the_area_is_where_the_folders_of_all_jobs_are() -> None:
    assert staging_area("a-1", "/data/staging/a-1/n.ipynb") == Path("/data/staging")
    # The name comes from the client.
    assert staging_area("a-1", "/data/staging/a-1/../../n.ipynb") == Path("/data/staging")


@pytest.mark.parametrize("path", ["s3://bucket/a-1/n.ipynb", "/data/other/n.ipynb"])
def test_an_area_that_is_no_local_folder_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Scheduler\.staging_path"):
        staging_area("a-1", path)


def test_a_claim_is_held_by_one_until_it_is_released(tmp_path: Path) -> None:
    first, second = Claim(tmp_path, "a-1"), Claim(tmp_path, "a-1")

    assert second.is_free()
    assert first.take()
    assert not second.is_free()
    assert not second.take()
    assert Claim(tmp_path, "a-2").take()
    first.release()

    assert list(tmp_path.glob(".a-1*")) == []
    assert second.is_free()
    assert second.take()


def test_a_killed_process_leaves_its_claim_free(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"True\n"
        assert not Claim(tmp_path, "a-1").is_free()
        holder.kill()
        holder.wait()

    assert Claim(tmp_path, "a-1").take()
