"""Client of TorchServe's management API: models and workers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hemlets.core.errors import ServingError
from serving.tokens import KeyFile


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """Status of one Python worker."""

    worker_id: str
    status: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """Status of a model in TorchServe.

    Attributes:
        name: Name of the model, as in ``/predictions/NAME``.
        version: Version in its archive.
        archive: File name in the model store.
        batch_size: Largest number of requests per batch.
        workers: All workers, including those that are not ready.
    """

    name: str
    version: str
    archive: str
    batch_size: int
    workers: tuple[WorkerStatus, ...]


class Management:
    """A client of the management API.

    Args:
        url: Address such as ``http://127.0.0.1:8081``.
        keys: The server's tokens; None if it needs none.
        timeout_s: Longest wait for an answer.
    """

    def __init__(self, url: str, keys: KeyFile | None, *, timeout_s: float = 150.0) -> None:
        self.url = url
        self.keys = keys
        self.timeout_s = timeout_s

    def register(
        self, archive: str, *, workers: int, batch_size: int, max_batch_delay_ms: int,
        response_timeout_s: int, startup_timeout_s: int,
    ) -> None:  # fmt: skip
        """Serve an archive from the model store and wait until its workers are ready.

        Raises:
            ServingError: The archive is unknown or already served, or its workers don't start.
        """
        self._call(
            "POST",
            "/models",
            {
                "url": archive,
                "initial_workers": workers,
                "batch_size": batch_size,
                "max_batch_delay": max_batch_delay_ms,
                "response_timeout": response_timeout_s,
                "startup_timeout": startup_timeout_s,
                "synchronous": "true",
            },
        )

    def unregister(self, name: str, version: str | None = None, *, attempts: int = 5) -> None:
        """Stop serving a model.

        Repeats the call if TorchServe answers "Interrupted while cleaning resources", as it may for
        a live model.

        Raises:
            ServingError: No such model, or the default version of several.
        """
        path = _model_path(name, version)
        for attempt in range(1, attempts + 1):
            status, answer = self._request("DELETE", path, {})
            if status == 200 or (status == 404 and attempt > 1):
                return
            if status != 500 or attempt == attempts:
                raise self._error("DELETE", path, status, answer)
            time.sleep(0.2 * attempt)

    def scale(self, name: str, workers: int, version: str | None = None) -> None:
        """Change the number of workers and wait until they are ready."""
        self._call(
            "PUT",
            _model_path(name, version),
            {"min_worker": workers, "max_worker": workers, "synchronous": "true"},
        )

    def set_default(self, name: str, version: str) -> None:
        """Set the version for requests without a version."""
        self._call("PUT", f"{_model_path(name, version)}/set-default", {})

    def describe(self, name: str, version: str | None = None) -> ModelStatus:
        """Status of one version of a model; by default the default version."""
        return _status(self._call("GET", _model_path(name, version), {})[0])

    def versions(self, name: str) -> list[ModelStatus]:
        """Status of all versions of a model."""
        return [_status(item) for item in self._call("GET", _model_path(name, "all"), {})]

    def models(self) -> list[str]:
        """Names of the served models."""
        answer = self._call("GET", "/models", {"limit": 1000})
        return sorted({str(item["modelName"]) for item in answer["models"]})

    def _call(self, method: str, path: str, parameters: Mapping[str, Any]) -> Any:
        status, answer = self._request(method, path, parameters)
        if status not in (200, 202):
            raise self._error(method, path, status, answer)
        return answer

    def _request(self, method: str, path: str, parameters: Mapping[str, Any]) -> tuple[int, Any]:
        import requests

        headers = {}
        if self.keys is not None:
            headers["Authorization"] = f"Bearer {self.keys.token('management')}"
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.request(
                    method,
                    self.url + path,
                    params=dict(parameters),
                    headers=headers,
                    timeout=self.timeout_s,
                )
            except requests.RequestException as error:
                raise ServingError(
                    f"TorchServe's management API does not answer: {type(error).__name__}",
                    where=self.url,
                    remedy="see whether the server still runs; its log is logs/ts_log.log",
                ) from error
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, answer.text

    def _error(self, method: str, path: str, status: int, answer: object) -> ServingError:
        message = answer.get("message", answer) if isinstance(answer, dict) else answer
        return ServingError(
            f"TorchServe refused {method} {path} with status {status}: {message}", where=self.url
        )


def _model_path(name: str, version: str | None) -> str:
    return f"/models/{name}" + (f"/{version}" if version else "")


def _status(item: Mapping[str, Any]) -> ModelStatus:
    return ModelStatus(
        name=str(item["modelName"]),
        version=str(item["modelVersion"]),
        archive=str(item["modelUrl"]),
        batch_size=int(item["batchSize"]),
        workers=tuple(
            WorkerStatus(worker_id=str(w["id"]), status=str(w["status"]), pid=int(w["pid"]))
            for w in item["workers"]
        ),
    )
