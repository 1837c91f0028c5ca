"""Ports that several stacks on one machine do not take from each other."""

import socket

from devstack.processes import free_port, port_is_free

ASKED = 400


def test_a_free_port_is_given_to_nobody_else_and_a_server_may_have_it() -> None:
    given = [free_port() for _ in range(ASKED)]
    assert len(set(given)) == ASKED
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        assert stranger.getsockname()[1] not in given
    assert port_is_free(given[0])
    with socket.create_server(("127.0.0.1", given[0])) as server:
        assert not port_is_free(given[0])
        socket.create_connection(server.getsockname()).close()
