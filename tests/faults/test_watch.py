"""The rules for a watch, each against a server that breaks them over HTTP.

Nothing here waits for time to pass: the reflector's clock moves only when it
sleeps, and its sleeps take no time.
"""

import json
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from faults.fake_api import Answer, FakeApi, Lost
from faults.mirrored import Mirrored, job, pod
from jupyter_scheduler_k8s.cluster.reflector import LONGEST_DELAY, PAGE


def test_lists_in_pages_then_watches_from_the_version_of_the_list(
    api: FakeApi, mirrored: Mirrored
) -> None:
    for number in range(PAGE + 5):
        api.put("jobs", job(f"job-{number}"))
    mirrored.reflect()
    watch = api.watch(1)
    assert len(mirrored.names()) == PAGE + 5
    assert api.kinds() == ["list", "list", "watch"]
    first, second = api.asked[:2]
    assert first.query["limit"] == str(PAGE)
    assert "continue" in second.query
    assert watch.asked.query["resourceVersion"] == str(100 + PAGE + 5)
    assert watch.asked.query["allowWatchBookmarks"] == "true"
    assert 300 <= int(watch.asked.query["timeoutSeconds"]) <= 600
    assert mirrored.cache.wait_synced(0)


def test_shows_what_is_added_changed_and_removed(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect()
    api.watch(1)
    api.put("jobs", job("a"))
    api.put("jobs", job("b"))
    mirrored.until(lambda: mirrored.names() == ["a", "b"])
    changed = api.put("jobs", job("a", phase="FAILED"))
    mirrored.until(lambda: _record(mirrored, "a").status == "FAILED")
    assert _record(mirrored, "a").name == changed["metadata"]["resourceVersion"]
    api.remove("jobs", "b")
    mirrored.until(lambda: mirrored.names() == ["a"])
    assert api.kinds() == ["list", "watch"]


def test_a_version_that_has_expired_is_listed_again(api: FakeApi, mirrored: Mirrored) -> None:
    api.put("jobs", job("stays"))
    api.put("jobs", job("goes"))
    mirrored.reflect()
    first = api.watch(1)
    # All of this happens while no watch is open: only a list can tell.
    api.stop()
    api.remove("jobs", "goes")
    api.put("jobs", job("stays", phase="COMPLETED"))
    api.put("jobs", job("comes"))
    api.expire()
    first.close()
    api.start()
    mirrored.until(lambda: mirrored.names() == ["comes", "stays"])
    assert _record(mirrored, "stays").status == "COMPLETED"
    api.watch(2)
    assert [kind for kind in api.kinds() if kind != "list"] == ["watch"] * 3


def test_an_expired_version_as_an_event_is_listed_again(api: FakeApi, mirrored: Mirrored) -> None:
    api.put("jobs", job("goes"))
    mirrored.reflect()
    watch = api.watch(1)
    api.watches.clear()
    api.remove("jobs", "goes")
    api.put("jobs", job("comes"))
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    watch.send({"type": "ERROR", "object": status})
    mirrored.until(lambda: mirrored.names() == ["comes"])
    assert api.kinds()[:3] == ["list", "watch", "list"]


def test_the_deletions_of_a_gap_are_told_to_listeners(api: FakeApi, mirrored: Mirrored) -> None:
    told: list[str] = []
    mirrored.cache.on_change(told.append)
    for name in ("same", "changed", "deleted"):
        api.put("jobs", job(name))
    mirrored.reflect()
    watch = api.watch(1)
    mirrored.until(lambda: len(told) == 3)
    told.clear()
    api.watches.clear()
    api.remove("jobs", "deleted")
    api.put("jobs", job("changed", phase="FAILED"))
    api.expire()
    watch.close()
    mirrored.until(lambda: mirrored.records.calls.count("replace") == 2)
    assert sorted(told) == ["changed", "deleted"]


def test_a_page_that_has_expired_makes_it_list_in_one_piece(
    api: FakeApi, mirrored: Mirrored
) -> None:
    for number in range(PAGE + 5):
        api.put("jobs", job(f"job-{number}"))
    api.fail("list", None, Answer(410, "token too old", "Expired"))
    mirrored.reflect()
    api.watch(1)
    assert len(mirrored.names()) == PAGE + 5
    assert [("limit" in asked.query) for asked in api.asked[:3]] == [True, True, False]


def test_a_bookmark_moves_the_version_to_resume_from(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect()
    first = api.watch(1)
    api.put("jobs", job("a"))
    api.bookmark()
    version = api._version
    first.close()
    assert api.watch(2).asked.query["resourceVersion"] == str(version)
    assert api.kinds() == ["list", "watch", "watch"]
    assert mirrored.names() == ["a"]


def test_a_stream_that_ends_is_resumed_without_a_list(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect()
    for number in range(1, 6):
        watch = api.watch(number)
        watch.close()
        # Between two streams: the next one begins where this one ended.
        api.put("jobs", job(f"job-{number}"))
    api.watch(6)
    mirrored.until(lambda: len(mirrored.names()) == 5)
    assert api.kinds() == ["list"] + ["watch"] * 6


def test_a_server_that_closes_at_once_is_given_more_and_more_time(
    api: FakeApi, mirrored: Mirrored
) -> None:
    mirrored.reflect()
    for number in range(1, 10):
        api.watch(number).close()
    api.watch(10)
    assert mirrored.slept == sorted(mirrored.slept)
    assert mirrored.slept[0] < 0.25
    assert mirrored.slept[-1] == pytest.approx(LONGEST_DELAY * 0.75)


def test_a_line_cut_in_the_middle_is_no_event(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect()
    watch = api.watch(1)
    made = api.put("jobs", job("a"))
    line = json.dumps({"type": "DELETED", "object": made}).encode()
    watch.cut(line[:-20])
    api.watch(2)
    mirrored.until(lambda: mirrored.names() == ["a"])
    assert api.kinds() == ["list", "watch", "watch"]


def test_twenty_minutes_of_refused_connections_end_with_the_server_back(
    api: FakeApi, mirrored: Mirrored
) -> None:
    api.put("jobs", job("a"))
    mirrored.reflect()
    watch = api.watch(1)
    began = mirrored.clock.now
    ages: list[float] = []

    def back_after_twenty_minutes() -> None:
        ages.append(mirrored.cache.age())
        if not api.running and mirrored.clock.now >= began + 1200:
            api.put("jobs", job("made meanwhile"))
            api.start()

    mirrored.when_sleeping = back_after_twenty_minutes
    api.stop()
    watch.close()
    api.watch(2)
    mirrored.until(lambda: "made meanwhile" in mirrored.names())
    assert 1200 <= mirrored.clock.now - began < 1200 + 5
    assert max(mirrored.slept) <= LONGEST_DELAY
    # Readers could see how old the truth was, and why.
    assert max(ages) >= 1199
    said = [text for text in mirrored.records.troubles if text]
    assert len(said) == 1
    assert f"http://127.0.0.1:{api.port} does not answer" in said[0]
    assert "KUBECONFIG" in said[0]
    mirrored.until(lambda: mirrored.cache.problem() is None)
    mirrored.cache.pods.contact()
    assert mirrored.cache.age() == 0


def test_a_silent_stream_is_dead(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect(silence_seconds=0.4)
    api.watch(3)
    assert api.kinds()[:2] == ["list", "watch"]
    assert api.kinds().count("list") == 1
    # Nothing is known to be wrong with the server.
    assert [text for text in mirrored.records.troubles if text] == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("kind", ["list", "watch"])
def test_retry_after_is_kept_to(
    api: FakeApi, mirrored: Mirrored, status: int, form: str, kind: str
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    value = "30" if form == "seconds" else date
    api.fail(kind, Answer(status, "later", headers={"Retry-After": value}))
    mirrored.reflect()
    api.watch(1)
    assert len(mirrored.slept) == 1
    # A date has whole seconds, and a moment has passed since it was written.
    assert 28 <= mirrored.slept[0] <= 31


@pytest.mark.parametrize(("asked", "kept_to"), [(40, True), ("40", False), (True, False)])
def test_an_error_event_that_asks_for_time_is_given_it(
    api: FakeApi, mirrored: Mirrored, asked: object, kept_to: bool
) -> None:
    mirrored.reflect()
    status = {"code": 429, "reason": "TooManyRequests", "details": {"retryAfterSeconds": asked}}
    api.watch(1).send({"type": "ERROR", "object": status})
    api.watch(2)
    assert (mirrored.slept[0] >= 39) is kept_to
    # The version is as good as before.
    assert api.kinds() == ["list", "watch", "watch"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_other_errors_back_off_and_resume(api: FakeApi, mirrored: Mirrored, status: int) -> None:
    mirrored.reflect()
    first = api.watch(1)
    api.put("jobs", job("a"))
    api.fail("watch", *[Answer(status, "not now")] * 5)
    first.close()
    api.watch(2)
    mirrored.until(lambda: mirrored.names() == ["a"])
    assert api.kinds() == ["list"] + ["watch"] * 7
    assert mirrored.slept[1:] == sorted(mirrored.slept[1:])


def test_credentials_are_loaded_again_after_401(
    api: FakeApi, mirrored: Mirrored, tmp_path: Path
) -> None:
    api.put("jobs", job("a"))
    mirrored.reflect()
    watch = api.watch(1)
    api.token = "two"
    seen: list[str] = []

    def log_in() -> None:
        seen.append(mirrored.cache.problem() or "")
        if len(mirrored.slept) == 3:
            api.kubeconfig(tmp_path, token="two")

    mirrored.when_sleeping = log_in
    watch.close()
    api.watch(2)
    api.put("jobs", job("b"))
    mirrored.until(lambda: mirrored.names() == ["a", "b"])
    assert "log in to the cluster again" in seen[1]
    assert api.kinds().count("list") == 1


def test_403_is_said_and_tried_again(
    api: FakeApi, mirrored: Mirrored, caplog: pytest.LogCaptureFixture
) -> None:
    message = 'jobs.batch is forbidden: User "u" cannot list resource "jobs" in API group "batch"'
    api.fail("list", *[Answer(403, message, "Forbidden")] * 12)
    seen: list[str] = []
    mirrored.when_sleeping = lambda: seen.append(mirrored.cache.problem() or "")
    mirrored.reflect()
    api.watch(1)
    assert "may not watch jobs in the namespace space" in seen[0]
    assert "Role" in seen[0]
    # Said once in the log, not at each attempt.
    assert [record.levelno for record in caplog.records].count(logging.WARNING) == 1
    # Quickly at first, as a restarting API server says 403 for a moment; then rarely.
    assert sum(mirrored.slept[:4]) < 5
    assert 15 <= mirrored.slept[-1] <= 30
    mirrored.until(lambda: mirrored.cache.problem() is None)


def test_a_line_of_four_megabytes(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect()
    api.watch(1)
    large = job("large", annotations={"jupyter-scheduler.io/job-data": "x" * (4 << 20)})
    api.put("jobs", large)
    api.put("jobs", job("after"))
    mirrored.until(lambda: mirrored.names() == ["after", "large"])
    assert api.kinds() == ["list", "watch"]


def test_an_event_of_an_unknown_type_makes_it_list_again(
    api: FakeApi, mirrored: Mirrored, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mirrored.reflect()
    watch = api.watch(1)
    api.watches.clear()
    made = api.put("jobs", job("a"))
    watch.send({"type": "TRANSMOGRIFIED", "object": made})
    mirrored.until(lambda: mirrored.names() == ["a"])
    api.watch(1)
    assert api.kinds() == ["list", "watch", "list", "watch"]
    assert "TRANSMOGRIFIED" in caplog.text


@pytest.mark.parametrize("line", [b"no JSON", b"[]", b"{}", b'{"type": "ADDED", "object": null}'])
def test_lines_that_are_no_events_are_asked_for_again_then_listed(
    api: FakeApi, mirrored: Mirrored, line: bytes
) -> None:
    mirrored.reflect()
    for number in (1, 2, 3):
        api.watch(number).send(line)
    api.watch(4)
    assert api.kinds() == ["list", "watch", "watch", "watch", "list", "watch"]
    api.put("jobs", job("a"))
    mirrored.until(lambda: mirrored.names() == ["a"])


def test_an_object_without_identity_hides_no_other(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect()
    watch = api.watch(1)
    watch.send({"type": "ADDED", "object": {"metadata": {"resourceVersion": "1000"}}})
    api.put("jobs", job("a"))
    mirrored.until(lambda: mirrored.names() == ["a"])
    assert api.kinds() == ["list", "watch"]


def test_a_label_change_is_a_leave_that_can_be_undone(api: FakeApi, mirrored: Mirrored) -> None:
    mirrored.reflect()
    api.watch(1)
    made = api.put("jobs", job("a"))
    mirrored.until(lambda: mirrored.names() == ["a"])
    metadata = {**made["metadata"], "labels": {"owner": "somebody else"}}
    api.put("jobs", {**made, "metadata": metadata})
    mirrored.until(lambda: mirrored.names() == [])
    # Not deleted: a late answer to a write of ours must not bring it back, but the watch may.
    assert not mirrored.cache.put(made)
    api.put("jobs", made)
    mirrored.until(lambda: mirrored.names() == ["a"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_replaced_and_that_is_logged(
    api: FakeApi, mirrored: Mirrored, caplog: pytest.LogCaptureFixture
) -> None:
    reflector = mirrored.reflect()
    api.watch(1)
    dead = reflector._thread

    def die(_: str) -> None:
        if reflector._thread is dead:
            # What no `except Exception` catches.
            raise SystemExit

    mirrored.cache.on_change(die)
    api.put("jobs", job("a"))
    api.watch(2)
    api.put("jobs", job("b"))
    mirrored.until(lambda: mirrored.names() == ["a", "b"])
    assert reflector._thread is not dead
    assert reflector.alive
    assert "died and is started again" in caplog.text


def test_a_fault_of_our_own_is_logged_and_mended(
    api: FakeApi, mirrored: Mirrored, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [True]

    def contact() -> None:
        if broken.pop() if broken else False:
            raise ZeroDivisionError

    original = mirrored.records._sink

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return contact if name == "contact" and broken else getattr(original, name)

    mirrored.records._sink = Broken()
    api.put("jobs", job("a"))
    mirrored.reflect()
    api.watch(1)
    mirrored.until(lambda: mirrored.names() == ["a"])
    assert "ZeroDivisionError" in caplog.text


def test_a_kubeconfig_file_that_comes_later_is_found(
    api: FakeApi, mirrored: Mirrored, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    text = path.read_text()
    path.unlink()
    seen: list[str] = []

    def write() -> None:
        seen.append(mirrored.cache.problem() or "")
        if len(seen) == 4:
            path.write_text(text)

    mirrored.when_sleeping = write
    mirrored.reflect()
    api.watch(1)
    assert "set KUBECONFIG" in seen[0]
    mirrored.until(lambda: mirrored.cache.problem() is None)


def test_stop_ends_an_idle_watch_at_once(api: FakeApi, mirrored: Mirrored) -> None:
    reflector = mirrored.reflect()
    api.watch(1)
    mirrored.until(
        lambda: "trouble" in mirrored.records.calls or "contact" in mirrored.records.calls
    )
    reflector.stop(timeout=5)
    assert not reflector.alive
    reflector.start()
    assert not reflector.alive


def test_pods_and_jobs_come_in_any_order(api: FakeApi, mirrored: Mirrored) -> None:
    made = api.put("jobs", job("a"))
    api.put("pods", pod("a-1", of=made))
    mirrored.reflect(pods=True)
    assert mirrored.cache.wait_synced(10)
    mirrored.until(lambda: "1 pods" in _message(mirrored, "a"))
    # A pod is shown before its Job is.
    later = {"metadata": {"name": "b", "uid": "uid-b"}}
    api.put("pods", pod("b-1", of=later))
    mirrored.until(lambda: mirrored.pods.calls.count("apply") == 1)
    api.put("jobs", {**job("b"), "metadata": {**job("b")["metadata"], "uid": "uid-b"}})
    mirrored.until(lambda: "1 pods" in _message(mirrored, "b"))
    # The pod of an earlier Job of the same name is not this Job's.
    api.put("pods", pod("b-0", of={"metadata": {"name": "b", "uid": "uid-of-another"}}))
    mirrored.until(lambda: mirrored.pods.calls.count("apply") == 2)
    assert "1 pods" in _message(mirrored, "b")
    api.remove("pods", "a-1")
    mirrored.until(lambda: "0 pods" in _message(mirrored, "a"))


def test_a_request_whose_answer_is_lost_is_sent_again(api: FakeApi, mirrored: Mirrored) -> None:
    api.put("jobs", job("a"))
    api.fail("list", Lost(), Lost())
    api.fail("watch", Lost())
    mirrored.reflect()
    api.watch(1)
    assert mirrored.names() == ["a"]
    assert api.kinds() == ["list"] * 3 + ["watch"] * 2


def _record(mirrored: Mirrored, name: str) -> Any:
    return mirrored.cache.get(name)


def _message(mirrored: Mirrored, name: str) -> str:
    record = mirrored.cache.get(name)
    return "" if record is None else str(record.status_message)


def test_a_write_that_a_list_has_overtaken_is_looked_at_live(
    api: FakeApi, mirrored: Mirrored
) -> None:
    mirrored.reflect()
    with mirrored.cache.writing() as kept, mirrored.cache.writing() as lost:
        # A list comes between these requests and their answers.
        api.watch(1).send({"type": "ERROR", "object": {"code": 410}})
        api.watch(2)
        # The watch is blind to what follows: it is as if it had come before the list.
        api.watches.clear()
        made = api.put("jobs", job("made"))
        gone = {**made, "metadata": {**made["metadata"], "name": "gone", "uid": "gone"}}
        assert kept.put(made)
        assert lost.put(gone)
    mirrored.until(lambda: mirrored.names() == ["made"])
    # The watch was left for that, and opened again where it was.
    api.watch(1)
    assert api.kinds()[:5] == ["list", "watch", "list", "watch", "list"]
    api.put("jobs", job("after"))
    mirrored.until(lambda: mirrored.names() == ["after", "made"])
