"""Free and busy TCP ports of this machine."""

from __future__ import annotations

import contextlib
import errno
import socket

from hemlets.core.errors import HemletsError

LOOPBACK = "127.0.0.1"


class BusyPortError(HemletsError):
    """A port that can't be listened on."""


def free_ports(count: int, *, host: str = LOOPBACK) -> list[int]:
    """Find different free ports."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket(_family(host))) for _ in range(count)]
        for probe in probes:
            _bind(probe, host, 0)
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port(*, host: str = LOOPBACK) -> int:
    """Find a free port."""
    return free_ports(1, host=host)[0]


def require_free_port(
    port: int, *, needed_by: str, option: str = "--port", host: str = LOOPBACK
) -> None:
    """Refuse a port that can't be listened on, before a server is started on it.

    Args:
        port: The port.
        needed_by: Name of the server, for the message.
        option: The option or setting of the port, for the message.
        host: Address of the interface.

    Raises:
        BusyPortError: The port is taken, needs other rights or does not exist, or the host is not
            this machine.
    """
    with socket.socket(_family(host)) as probe:
        # As servers do: a connection that lingers from the last run does not count as busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            _bind(probe, host, port)
            probe.listen(1)
        except PermissionError as error:
            raise BusyPortError(
                f"port {port} can't be used for {needed_by}: it needs administrator's rights",
                where=f"{host}:{port}",
                remedy=f"choose a port above 1023 with {option}",
            ) from error
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BusyPortError(
                f"port {port} can't be used for {needed_by}: {reason}",
                where=f"{host}:{port}",
                expected="a free port",
                remedy=f"stop the program that listens there, or choose another with {option}",
            ) from error


def _bind(probe: socket.socket, host: str, port: int) -> None:
    try:
        probe.bind((host, port))
    except OSError as error:
        if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
            raise
        raise BusyPortError(
            f"{host!r} is no address of this machine: {error.strerror}",
            where="--host",
            expected="e.g. 127.0.0.1, or 0.0.0.0 for all of its addresses",
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
