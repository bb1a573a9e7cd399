"""Small messages go at once, and are acknowledged at once."""

import socket
from collections.abc import Iterator

import pytest

from coeval.prompt_socket import acknowledge_at_once, send_at_once


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """One end of a TCP connection over loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as end,
    ):
        yield end


def test_nothing_small_waits_for_what_comes_after_it(connection: socket.socket) -> None:
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    send_at_once(connection)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux has TCP_QUICKACK")
def test_what_came_is_acknowledged_at_once(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    acknowledge_at_once(connection)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1


def test_a_connection_that_is_gone_is_left_alone(connection: socket.socket) -> None:
    acknowledge_at_once(None)
    connection.close()
    acknowledge_at_once(connection)
    assert connection.fileno() == -1
