"""A port that can't be used is found before a server is started on it."""

import errno
import socket

import pytest

from hemlets.core.ports import BusyPortError, free_port, free_ports, require_free_port


def test_free_ports_differ() -> None:
    assert len(set(free_ports(6))) == 6


def test_a_free_port_passes() -> None:
    require_free_port(free_port(), needed_by="the test")


def test_a_busy_port_is_named_with_who_needs_it_and_the_option_that_helps() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BusyPortError, match=f"{port} can't be used for the test") as caught:
            require_free_port(port, needed_by="the test", option="--test-port")
    assert "--test-port" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "error",
    [socket.gaierror(socket.EAI_NONAME, "unknown"), OSError(errno.EADDRNOTAVAIL, "not here")],
)
def test_an_address_of_no_machine_or_of_another_is_refused(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket.socket, "bind", bind)
    for look in (
        lambda: free_port(host="192.0.2.1"),
        lambda: require_free_port(1, needed_by="", host="192.0.2.1"),
    ):
        with pytest.raises(BusyPortError, match="no address of this machine"):
            look()


def test_a_port_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BusyPortError, match="70000"):
        require_free_port(70000, needed_by="the test")
