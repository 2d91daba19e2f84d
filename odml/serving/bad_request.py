"""What the sender of a request can put right."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE


class BadRequestError(MlflowException):
    """What the sender of a request can put right; the server answers 400 with this message.

    MLflow's server would put the whole of the request's data before it: the first message stays.
    """

    def __init__(self, message: str) -> None:
        self._first = message
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """The message as it was first given."""
        return self._first

    @message.setter
    def message(self, value: str) -> None:
        """Ignore what is set."""


def quoted(value: object) -> str:
    """Show a value of a request in a message, shortened: a request may hold megabytes."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_LONGEST = 60
