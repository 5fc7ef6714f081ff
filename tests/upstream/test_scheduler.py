"""Upstream's tests of its scheduler."""

from jupyter_scheduler.tests.test_scheduler import *  # noqa: F403
