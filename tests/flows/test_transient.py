"""A lost connection is tried again; what another attempt can't mend is not."""

from __future__ import annotations

import botocore.exceptions
import pytest
import requests
import sqlalchemy.exc

from flows.services.transient import is_transient, retry_transient
from hemlets.core.errors import DataError, ValidationFailed, WorkspaceError


def caused_by(error: Exception) -> WorkspaceError:
    try:
        raise WorkspaceError("the data remote did not work") from error
    except WorkspaceError as raised:
        return raised


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        requests.ConnectionError(),
        requests.Timeout(),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://s3"),
        botocore.exceptions.ReadTimeoutError(endpoint_url="http://s3"),
        sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("database is locked")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_connection_is_transient_also_as_a_cause(error: Exception) -> None:
    assert is_transient(error)
    assert is_transient(caused_by(error))


@pytest.mark.parametrize(
    "error",
    [
        DataError("a row is damaged"),
        ValidationFailed("a label is impossible"),
        ValueError("no"),
        caused_by(botocore.exceptions.NoCredentialsError()),
        None,
    ],
    ids=str,
)
def test_anything_else_is_not(error: Exception | None) -> None:
    assert not is_transient(error)


@pytest.mark.services
def test_a_step_is_tried_again_after_a_lost_connection_only(prefect_url) -> None:
    from prefect import flow, task
    from prefect.settings import PREFECT_API_URL, temporary_settings

    attempts: list[str] = []

    @task(retries=2, retry_delay_seconds=0, retry_condition_fn=retry_transient)
    def step(error: Exception) -> None:
        attempts.append(type(error).__name__)
        if attempts.count(type(error).__name__) < 3:
            raise error

    @flow(validate_parameters=False)
    def steps() -> None:
        step(ConnectionResetError("lost"))
        with pytest.raises(DataError):
            step(DataError("a row is damaged"))

    with temporary_settings({PREFECT_API_URL: prefect_url}):
        steps()
    assert attempts == ["ConnectionResetError"] * 3 + ["DataError"]
