"""Schedules: what a CronJob gets for what was typed, what is refused, and the next run.

That Kubernetes' own library agrees is tests/cluster/test_next_runs.py.
"""

import itertools
from datetime import datetime

import pytest

from jupyter_scheduler_k8s import cron
from jupyter_scheduler_k8s.errors import BackendError


def written(schedule: str) -> str:
    return cron.for_kubernetes(schedule, None)[0]


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("* * * * *", "* * * * *"),
        ("0 9 * * 1-5", "0 9 * * 1-5"),
        ("  0   9\t* *\n* ", "0 9 * * *"),
        ("05 009 01 01 *", "5 9 1 1 *"),
        ("*/5 */2 * */3 *", "*/5 */2 * */3 *"),
        ("*/1 */1 */1 */1 */1", "* * * * *"),
        ("0-59 0-23 1-31 1-12 0-7", "* * * * *"),
        ("*/70 */24 * * *", "0 0 * * *"),
        (f"{'0,' * 123}00 * * * *", "0 * * * *"),
        (f"*/{'9' * 30} * * * *", "0 * * * *"),
        ("7/20 * * * *", "7,27,47 * * * *"),
        ("0,30 22-23,0-4 * * *", "0,30 0-4,22,23 * * *"),
        ("5,5,3,4 * * * *", "3-5 * * * *"),
        ("0 0 * JAN,jul-Sep *", "0 0 * 1,7-9 *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * MON-SUN", "0 0 * * *"),
        ("0 0 * * Mon-Fri", "0 0 * * 1-5"),
        ("0 0 * * sat-sun", "0 0 * * 0,6"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * 1/3", "0 0 * * 0,1,4"),
        # Beside a weekday, a day field of all days is a star to upstream and a list to
        # Kubernetes, and a step from a star is a list to both.
        ("0 0 1-31 * 1", "0 0 * * 1"),
        ("0 0 *,5 * 1", "0 0 * * 1"),
        ("0 0 */10 * 1", "0 0 1,11,21,31 * 1"),
        ("0 0 1 * 1-7", "0 0 1 * *"),
        ("0 0 1 * */3", "0 0 1 * 0,3,6"),
        ("0 0 30 2 1", "0 0 30 2 1"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        (" @Midnight ", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ],
)
def test_what_a_cronjob_gets(schedule: str, expected: str) -> None:
    assert written(schedule) == expected


READ = (
    "can't be read; write *, numbers ({}), ranges such as 1-5, steps such as */2, or several of"
    " them with commas."
)
MINUTE, HOUR, DAY = (READ.format(numbers) for numbers in ("0 to 59", "0 to 23", "1 to 31"))
MONTH, WEEKDAY = READ.format("1 to 12 or jan to dec"), READ.format("0 to 7 or sun to sat")
FIELDS = "fields; write five: minute, hour, day of the month, month, day of the week."
NO_NAME = (
    "is no time that Kubernetes knows; write five fields, or one of @hourly, @daily, @midnight,"
    " @weekly, @monthly, @yearly, @annually."
)
FROM_THE_END = "counts from a month's end or by weeks; write plain numbers."
NEVER = "never comes: no such month has such a day; write a day that it has."


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("", f"The schedule '' has 0 {FIELDS}"),
        ("0 9 * *", f"The schedule '0 9 * *' has 4 {FIELDS}"),
        ("0 9 * * * 30", f"The schedule '0 9 * * * 30' has 6 {FIELDS}"),
        ("* " * 128, f"The schedule '{'* ' * 20}' has 128 {FIELDS}"),
        (f"{'0,' * 124}0 * * * *", "The schedule has 257 characters; write at most 256."),
        ("@reboot", f"The schedule '@reboot' {NO_NAME}"),
        ("@every 5m", f"The schedule '@every 5m' {NO_NAME}"),
        (
            "TZ=Europe/Berlin 0 9 * * *",
            "The schedule 'TZ=Europe/Berlin 0 9 * * *' names a time zone; leave it out, and choose"
            " it as the job's time zone.",
        ),
        (
            "cron_tz=UTC @daily",
            "The schedule 'cron_tz=UTC @daily' names a time zone; leave it out, and choose it as"
            " the job's time zone.",
        ),
        (
            "0 0 ? * 1",
            "The schedule's day of the month '?' has a question mark; write * for any.",
        ),
        ("0 0 L * *", f"The schedule's day of the month 'l' {FROM_THE_END}"),
        ("0 0 1,15-L * *", f"The schedule's day of the month '1,15-l' {FROM_THE_END}"),
        ("0 0 * * 5#2", f"The schedule's day of the week '5#2' {FROM_THE_END}"),
        ("0 0 * * L5", f"The schedule's day of the week 'l5' {FROM_THE_END}"),
        (
            "H 3 * * *",
            "The schedule's minute 'h' leaves the choice of a time open; write it.",
        ),
        (
            "0 R(1-4) * * *",
            "The schedule's hour 'r(1-4)' leaves the choice of a time open; write it.",
        ),
        (
            "0 22-4 * * *",
            "The schedule's hour '22-4' has a range that ends before it begins; write 22-23,0-4.",
        ),
        (
            "0 0 * 1,11-2/2 *",
            "The schedule's month '1,11-2/2' has a range that ends before it begins; write"
            " 11-12,1-2.",
        ),
        ("60 * * * *", f"The schedule's minute '60' {MINUTE}"),
        ("*/0 * * * *", f"The schedule's minute '*/0' {MINUTE}"),
        ("-5 * * * *", f"The schedule's minute '-5' {MINUTE}"),
        ("1,,2 * * * *", f"The schedule's minute '1,,2' {MINUTE}"),
        ("1.5 * * * *", f"The schedule's minute '1.5' {MINUTE}"),
        ("0 24 * * *", f"The schedule's hour '24' {HOUR}"),
        ("0 0 0 * *", f"The schedule's day of the month '0' {DAY}"),
        ("0 0 15W * *", f"The schedule's day of the month '15w' {DAY}"),
        ("0 0 * may-jan *", f"The schedule's month 'may-jan' {MONTH}"),
        ("0 0 * 13 *", f"The schedule's month '13' {MONTH}"),
        ("0 0 * * 8", f"The schedule's day of the week '8' {WEEKDAY}"),
        ("0 0 * * monday", f"The schedule's day of the week 'monday' {WEEKDAY}"),
        ("0 0 30 2 *", f"The schedule '0 0 30 2 *' {NEVER}"),
        ("0 0 31 4,6,9,11 0-6", f"The schedule '0 0 31 4,6,9,11 0-6' {NEVER}"),
    ],
)
def test_what_a_cronjob_cannot_have_is_refused(schedule: str, said: str) -> None:
    with pytest.raises(BackendError) as refusal:
        cron.for_kubernetes(schedule, "UTC")
    assert str(refusal.value) == said


@pytest.mark.parametrize("form", ["9" * 200, "1-" + "9" * 200, "0\0", "\ud83d", "🕐", "٣x"])
def test_nothing_that_can_be_typed_is_more_than_a_refusal(form: str) -> None:
    for place in range(5):
        fields = ["*"] * 5
        fields[place] = form
        with pytest.raises(BackendError) as refusal:
            cron.for_kubernetes(" ".join(fields), "UTC")
        assert len(str(refusal.value)) < 300


def test_what_is_written_is_its_own_form() -> None:
    """Reading it again changes nothing."""
    forms = ("*", "*/2", "*/3", "1", "2-4", "1-6/2", "3/2", "1,2,5", "1-2,4-6")
    for place, form, other in itertools.product(range(5), forms, ("*", "1-3")):
        fields = [other] * 5
        fields[place] = form
        text = written(" ".join(fields))
        assert written(text) == text


@pytest.mark.parametrize(
    ("timezone", "expected"),
    [
        (None, "UTC"),
        ("", "UTC"),
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("Europe/Berlin", "Europe/Berlin"),
        ("EUROPE/berlin", "Europe/Berlin"),
        ("america/port-au-prince", "America/Port-au-Prince"),
        ("Etc/GMT+5", "Etc/GMT+5"),
        ("EST5EDT", "EST5EDT"),
    ],
)
def test_a_zone_is_spelt_as_kubernetes_knows_it(timezone: str | None, expected: str) -> None:
    assert cron.for_kubernetes("@daily", timezone) == ("0 0 * * *", expected)


@pytest.mark.parametrize(
    "timezone",
    [
        "Local",
        "local",
        "localtime",
        "Factory",
        "CET-1CEST",
        "Europe/Bonn",
        "Europe",
        "../UTC",
        "/etc/localtime",
        " ",
        "\0",
    ],
)
def test_an_unknown_zone_is_refused(timezone: str) -> None:
    said = f"The time zone {timezone!r} is unknown; write a name such as Europe/Berlin or UTC."
    with pytest.raises(BackendError) as refusal:
        cron.for_kubernetes("@daily", timezone)
    assert str(refusal.value) == said
