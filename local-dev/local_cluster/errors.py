"""What can go wrong, as one sentence for the person who typed the command."""


class LocalClusterError(Exception):
    """Its text is shown as it is; no traceback helps more than the sentence."""


class CommandFailed(LocalClusterError):
    """A program that we ran ended with an error."""
