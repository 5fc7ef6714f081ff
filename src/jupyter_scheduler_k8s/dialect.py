"""What SQLAlchemy finds for a `k8s://` address: a sentence instead of a dialect.

jupyter-scheduler makes its tables when it loads, whatever the scheduler is, and
before any other code of ours is asked. The wheel names this class as SQLAlchemy's
plug-in for such addresses.
"""

from typing import NoReturn

from sqlalchemy.engine import URL

from jupyter_scheduler_k8s.combinations import NO_DATABASE
from jupyter_scheduler_k8s.errors import ConfigurationError


class NoDialect:
    """Stands where a dialect would."""

    @classmethod
    def get_dialect_cls(cls, _url: URL) -> NoReturn:
        """Refuse the address; called by SQLAlchemy's `create_engine`.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(NO_DATABASE)
