"""Free and busy TCP ports."""

from __future__ import annotations

import contextlib
import socket

from hemlets.errors import ServingError

__all__ = ["free_ports", "require_free_port"]


def free_ports(count: int, *, host: str = "127.0.0.1") -> list[int]:
    """Different ports that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket(_family(host))) for _ in range(count)]
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def require_free_port(port: int, *, host: str = "127.0.0.1", option: str = "--port") -> None:
    """Refuse a port that can't be listened on.

    Raises:
        ServingError: The port is taken or needs other rights; the message names it.
    """
    with socket.socket(_family(host)) as probe:
        # Java sets this too: without it, connections of a server that has just stopped would
        # make its port look taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError as error:
            raise ServingError(
                f"port {port} needs administrator's rights",
                where=f"{host}:{port}",
                remedy=f"choose a port above 1023 with {option}",
            ) from error
        except OSError as error:
            raise ServingError(
                f"port {port} can't be used: {error.strerror or error}",
                where=f"{host}:{port}",
                expected="a free port",
                remedy=f"stop the program that listens there, or choose another with {option}",
            ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
