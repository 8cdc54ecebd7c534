"""What all tests need."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C work where a shell started the tests in its background.

    Such a shell has SIGINT ignored, which children inherit, and a test that interrupts a
    command would then wait for ever.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
