"""When schedules fire: Kubernetes' own library, upstream's computation and ours, on one table.

The library is asked through `nextruns` of local-dev, so that clocks needn't change for it.
"""

import itertools
import json
import subprocess
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
from croniter.croniter import croniter
from jupyter_scheduler import utils

from cluster.next_runs import Row, rows, seconds
from jupyter_scheduler_k8s import cron
from local_cluster import binaries
from local_cluster.layout import Layout

# What croniter calls on a Python that has deprecated it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning"
)

# It has no types.
UPSTREAM: Any = croniter
ROOT = Path(__file__).parents[2]
ROWS = {f"{row.schedule} {row.timezone} {row.start}": row for row in rows()}


class NextRuns:
    """The program that answers as Kubernetes' CronJob controller would."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def ask(self, questions: Sequence[tuple[str, str, int, int]]) -> list[dict[str, Any]]:
        """Answers to schedule, zone, seconds and count."""
        keys = ("schedule", "timeZone", "after", "count")
        lines = (json.dumps(dict(zip(keys, asked, strict=True))) for asked in questions)
        done = subprocess.run(
            [self._program], input="\n".join(lines), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def kubernetes() -> NextRuns:
    # As `make cluster` built it, from the sources of this checkout.
    return NextRuns(binaries.build(Layout.of(ROOT), binaries.NEXT_RUNS))


def count(row: Row) -> int:
    # Where nothing follows, ask for it.
    return max(len(row.times), 1)


def test_kubernetes_fires_by_the_table(kubernetes: NextRuns) -> None:
    asked = [
        (*cron.for_kubernetes(row.schedule, row.timezone), row.start, count(row))
        for row in ROWS.values()
    ]
    said = dict(zip(ROWS, kubernetes.ask(asked), strict=True))
    assert said == {name: {"times": row.times} for name, row in ROWS.items()}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_upstream_differs_only_where_the_table_says_so(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = float(row.start)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromtimestamp(moment, tz)

    monkeypatch.setattr(utils, "datetime", Clock)
    if not row.upstream:
        # pytz and croniter have an exception each, and its kind is no matter here.
        with pytest.raises(Exception, match=r"failed to find next date|Coyhaique"):
            utils.compute_next_run_time(row.schedule, row.timezone)
        return
    for following in row.upstream:
        moment = utils.compute_next_run_time(row.schedule, row.timezone) / 1000
        assert moment == following


def test_each_zone_is_known_to_kubernetes(kubernetes: NextRuns) -> None:
    zones = sorted(available_timezones() - {"localtime", "Factory"})
    asked = [(*cron.for_kubernetes("0 0 * * *", zone), 0, 1) for zone in zones]
    refused = [
        zone for zone, said in zip(zones, kubernetes.ask(asked), strict=True) if "error" in said
    ]
    assert refused == []


def test_what_is_written_anew_is_accepted_and_means_the_same(kubernetes: NextRuns) -> None:
    """Fields of every form in every place, over a time without a clock change."""
    forms = ("*", "*/2", "*/7", "1", "3-5", "1-6/2", "2/3", "1,4,6", "0-6", "1-7", "*,3", "1-31")
    starts = (seconds("2027-01-03T10:00Z"), seconds("2028-02-28T23:59Z"))
    texts = []
    for place, form in itertools.product(range(5), forms):
        for weekday in ("*", "2", "*/3", "1-5"):
            fields = ["5", "7", "*", "*", weekday]
            fields[place] = form
            texts.append(" ".join(fields))
    cases = [
        (text, start)
        for text, start in itertools.product(dict.fromkeys(texts), starts)
        if UPSTREAM.is_valid(text)
    ]
    assert len(cases) > 300

    asked = [(*cron.for_kubernetes(text, "UTC"), start, 8) for text, start in cases]
    said = [answer["times"] for answer in kubernetes.ask(asked)]
    assert said == [upstream_runs(text, start, 8) for text, start in cases]


def upstream_runs(text: str, start: int, number: int) -> list[int]:
    runs = UPSTREAM(text, start)
    return [int(runs.get_next(float)) for _ in range(number)]
