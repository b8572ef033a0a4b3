"""What the sockets of one server share, and what they tell when they go."""

from greensock.testing import Dial, Recorder, Serve, wait_until


def test_sockets_are_alive_until_their_last_event_has_returned(serve: Serve, dial: Dial) -> None:
    seen: list[tuple[int, int]] = []
    recorder = Recorder(close=lambda socket, error: seen.append((server.connections, server._shared.alive)))
    server = serve(recorder.handlers)
    shared = server._shared
    with dial(server):
        recorder.wait_for("open")
        assert (shared.alive, shared.referenced, len(shared.sockets)) == (1, 1, 1)
    wait_until(lambda: shared.alive == 0)
    assert seen == [(0, 1)], "in close the connection does not count any more, but still exists"
    assert (shared.referenced, len(shared.sockets)) == (0, 0)


def test_an_unreferenced_socket_is_alive_and_not_waited_for(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    shared = server._shared
    dial(server)
    socket = recorder.wait_for("open")[0]
    for _ in range(2):
        socket.unref()
        assert (shared.alive, shared.referenced) == (1, 0)
    for _ in range(2):
        socket.ref()
        assert (shared.alive, shared.referenced) == (1, 1)


def test_all_sockets_of_a_server_share_one_table_of_handlers(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    dial(server), dial(server)
    recorder.wait_for("open", 2)
    one, other = server.sockets
    assert one._table is other._table is server._shared.table


def test_the_local_address_is_kept_once_unless_the_server_listens_everywhere(serve: Serve, dial: Dial) -> None:
    assert serve(Recorder().handlers)._shared.local_address is not None
    everywhere = serve(Recorder().handlers, ("0.0.0.0", 0))
    assert everywhere._shared.local_address is None
