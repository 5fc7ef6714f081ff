"""Upstream's tests of its handlers."""

# What they hold is in the star: pytest collects what it brings.
from jupyter_scheduler.tests.test_handlers import *  # noqa: F403
