"""What a socket tells of its TLS, and TLS that starts on an open connection."""

import _socket
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest

import greensock
from connections import AnySocket, attempt, echoing, narrow_listener, stream, turns, wait_until_steady
from greensock import CloseReason
from greensock.framing import Lines
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from records import DATA, Records, logging_context
from tls_peer import SecurePeer, credentials, trust

STARTTLS = b"STARTTLS\n"
GO = b"220 go ahead\n"


def own_tls() -> greensock.TLS:
    return greensock.TLS(**credentials())


# -- what there is to know ---------------------------------------------------------------------------------


def test_in_clear_there_is_nothing(serve: Serve) -> None:
    server = serve(Recorder().handlers)
    with greensock.connect(server.address) as socket:
        assert (socket.encrypted, socket.authorized, socket.authorization_error) == (False, False, None)
        assert (socket.alpn_protocol, socket.server_name, socket.tls_version) == (None, None, None)
        assert (socket.cipher(), socket.peer_certificate(), socket.peer_certificate(der=True)) == (None, None, None)


def test_what_was_agreed_on(serve: Serve) -> None:
    there = Recorder()
    server = serve(there.handlers, tls=greensock.TLS(**credentials(), alpn=["b", "a"]))
    here = greensock.connect(
        server.address, Recorder().handlers, tls={**trust(), "alpn": ["a", "b"]}, server_hostname="LOCALHOST"
    )
    other, *_ = there.wait_for("open")
    for socket in (here, other):
        assert socket.encrypted
        assert socket.alpn_protocol == "b", "the server's preference"
        assert socket.tls_version == "TLSv1.3"
        assert socket.server_name == "localhost"
        name, version, bits = socket.cipher() or ("", "", 0)
        assert name.startswith("TLS_")
        assert (version, bits >= 128) == ("TLSv1.3", True)
    certificate = here.peer_certificate()
    assert certificate is not None
    assert ("DNS", "localhost") in certificate["subjectAltName"]
    whole = here.peer_certificate(der=True)
    assert whole is not None and ssl.DER_cert_to_PEM_cert(whole) in credentials()["cert"].decode()
    assert other.peer_certificate() is None
    assert (here.authorized, other.authorized) == (True, False)
    here.close()
    there.wait_for("close")
    assert here.tls_version == other.tls_version == "TLSv1.3", "readable after the close"


def test_mutual_tls(serve: Serve) -> None:
    there = Recorder()
    server = serve(there.handlers, tls=greensock.TLS(**credentials(), **trust(), request_cert=True))
    here = Recorder()
    with greensock.connect(server.address, here.handlers, tls={**trust(), **credentials("client.example")}):
        socket, *_ = there.wait_for("open")
        assert there.log[0][2:] == (True, None)
        assert socket.authorized
        assert ("DNS", "client.example") in socket.peer_certificate()["subjectAltName"]
    there.wait_for("close")


def test_mutual_tls_without_a_certificate(serve: Serve) -> None:
    there = Recorder()
    server = serve(there.handlers, tls=greensock.TLS(**credentials(), **trust(), request_cert=True))
    here = Recorder()
    # In TLS 1.3 the client has finished before the server looks at what it was given: it may be connected for a moment.
    try:
        socket = greensock.connect(server.address, here.handlers, tls=trust())
    except OSError:
        assert here.events == ["connect_error"]
    else:
        here.wait_for("close")
        assert socket.close_reason in (CloseReason.PROTOCOL, CloseReason.RESET)
    wait_until(lambda: server.stats().handshake_failures == 1)
    assert there.events == []


def test_a_wanted_but_optional_certificate(serve: Serve) -> None:
    there = Recorder()
    options = {**credentials(), **trust(), "request_cert": True, "reject_unauthorized": False}
    server = serve(there.handlers, tls=options)
    with greensock.connect(server.address, Recorder().handlers, tls=trust()):
        _, authorized, error = there.wait_for("handshake")
        assert not authorized
        assert isinstance(error, Exception)
        assert there.wait_for("open")[0].authorization_error is error
    there.wait_for("close")


# -- endings ---------------------------------------------------------------------------------------------


def test_truncation_is_told_apart(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(server.address) as peer:
        peer.send(b"half of it")
        peer.break_off()
        socket, error = recorder.wait_for("close")
        assert peer.read_to_end() == b"", "this side says goodbye all the same"
    assert recorder.events == ["handshake", "open", "data", "close"]
    assert socket.close_reason is CloseReason.TRUNCATED
    assert isinstance(error, ssl.SSLEOFError)


def test_what_was_written_before_a_truncation_is_sent(serve: Serve) -> None:
    def data(socket: AnySocket, data: bytes) -> None:
        gevent.sleep(0.02)
        socket.write(data)

    recorder = Recorder(data=data)
    server = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(server.address) as peer:
        peer.send(b"a question")
        peer.break_off()
        assert peer.read_to_end() == b"a question"
    recorder.wait_for("close")


def test_close_notify_without_fin_is_an_end(serve: Serve) -> None:
    recorder = Recorder(end=lambda socket: socket.write(b"and good night"))
    server = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(server.address) as peer:
        peer.say_goodbye()
        assert peer.read_to_end() == b"and good night"
        peer.break_off()
    socket, error = recorder.wait_for("close")
    assert (socket.close_reason, error) == (CloseReason.EOF, None)
    assert recorder.events == ["handshake", "open", "end", "close"]


def test_half_open(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, tls=own_tls(), allow_half_open=True)
    with SecurePeer(server.address) as peer:
        peer.send(b"question")
        peer.finish()
        socket, *_ = recorder.wait_for("end")
        turns()
        assert not socket.closed
        text = stream(300_000)
        socket.write(text)
        socket.end()
        assert peer.read_to_end() == text
    recorder.wait_for("close")


def test_end_and_read_on(serve: Serve) -> None:
    recorder = Recorder(open=lambda socket: socket.end(b"that was all"))
    server = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(server.address) as peer:
        assert peer.read_to_end() == b"that was all"
        text = stream(200_000)
        peer.send(text)
        wait_until(lambda: recorder.received == text)
        peer.finish()
    socket, error = recorder.wait_for("close")
    assert (socket.close_reason, error) == (CloseReason.LOCAL, None)


def test_close_does_not_cut_off(serve: Serve) -> None:
    text = stream(3_000_000)

    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(text)
        socket.close()

    recorder = Recorder(data=answer)
    server = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(server.address, receive_buffer=4096) as peer:
        peer.send(b"x" * 50_000)
        peer.send(b"and more, which nobody reads")
        assert peer.read_to_end() == text
        peer.finish()
    recorder.wait_for("close")
    assert recorder.sockets[0].unsent == 0


def test_a_reset_is_no_failure_of_tls(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(server.address) as peer:
        peer.send(b"so far")
        recorder.wait_for("data")
        peer.reset()
        socket, error = recorder.wait_for("close")
    assert socket.close_reason is CloseReason.RESET
    assert isinstance(error, ConnectionResetError)


@pytest.mark.parametrize("ask", [False, True])
def test_a_peer_that_changes_its_keys_for_ever_is_let_go(ask: bool, serve: Serve, tmp_path: Path) -> None:
    recorder = echoing()
    server = serve(recorder.handlers, tls=greensock.TLS(**credentials()))
    with SecurePeer(server.address) as other, SecurePeer(server.address, logging_context(tmp_path / "log")) as peer:
        socket, *_ = recorder.wait_for("open", 2)
        records = Records(peer.tls, tmp_path / "log")
        few = b"".join(records.key_update(ask=ask) for _ in range(500))
        peer.send_raw(few + records.record(DATA, b"hello"))
        assert peer.read_exactly(5) == b"hello", "some are nothing to speak of"
        attempt(peer.send_raw, b"".join(records.key_update(ask=ask) for _ in range(5000)))
        assert recorder.wait_for("close")[0] is socket
        assert "sends no data" in str(recorder.log[-1][2])
        assert other.exchange(b"and others stay") == b"and others stay"
    assert socket.close_reason is CloseReason.PROTOCOL


@pytest.mark.parametrize("data", [b"x", bytes(16_384)])
def test_records_of_any_size_may_come_for_ever(data: bytes, serve: Serve, tmp_path: Path) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, tls=greensock.TLS(**credentials()))
    with SecurePeer(server.address, logging_context(tmp_path / "log")) as peer:
        recorder.wait_for("open")
        records = Records(peer.tls, tmp_path / "log")
        peer.send_raw(b"".join(records.record(DATA, data) for _ in range(1_000_000 // (len(data) + 22))))
        peer.send_raw(records.goodbye())
        Peer.finish(peer)
        recorder.wait_for("close")
    assert recorder.received == data * (1_000_000 // (len(data) + 22))
    assert recorder.sockets[0].close_reason is CloseReason.EOF


def test_keys_may_change_after_this_side_has_ended(serve: Serve, tmp_path: Path) -> None:
    recorder = Recorder(open=lambda socket: socket.end())
    server = serve(recorder.handlers, tls=greensock.TLS(**credentials()))
    with SecurePeer(server.address, logging_context(tmp_path / "log")) as peer:
        assert peer.read_to_end() == b""
        records = Records(peer.tls, tmp_path / "log")
        peer.send_raw(records.key_update() + records.record(DATA, b"hello") + records.goodbye())
        Peer.finish(peer)
        assert recorder.wait_for("close")[1] is None
    assert recorder.received == b"hello"


@pytest.mark.parametrize("handled", [False, True])
def test_a_broken_record(serve: Serve, handled: bool) -> None:
    behaviour: dict[str, Callable[..., object]] = {"error": lambda socket, error: None} if handled else {}
    recorder = Recorder(**behaviour)
    server = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(server.address) as peer:
        peer.send_raw(peer.encrypt(b"good") + b"\x17\x03\x03\x00\x20" + bytes(32))
        socket, error = recorder.wait_for("close")
        assert "BAD_RECORD_MAC" in str(attempt(peer.read_to_end)), "an alert told the peer"
    assert recorder.events == ["handshake", "open", "data", *["error"] * handled, "close"]
    assert socket.close_reason is CloseReason.PROTOCOL
    assert isinstance(error, ssl.SSLError)
    assert server.stats().errors == 0


def test_framing_in_tls(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, line: socket.write_message(line.upper()))
    server = serve(recorder.handlers, tls=own_tls(), framing=Lines())
    lines = [b"line %d" % number for number in range(3000)]
    with SecurePeer(server.address) as peer:
        text = b"\n".join(lines) + b"\n"
        for start in range(0, len(text), 7777):
            peer.send(text[start : start + 7777])
        assert peer.read_exactly(len(text)) == text.upper()
        peer.send(b"and an unfinished")
        peer.finish()
        socket, error = recorder.wait_for("close")
    assert [entry[2] for entry in recorder.log if entry[0] == "data"] == lines
    assert socket.close_reason is CloseReason.PROTOCOL
    assert isinstance(error, greensock.IncompleteRead)


def test_the_end_behind_many_messages(serve: Serve) -> None:
    """They come in one read with the close_notify, and each is delivered before it."""
    recorder = Recorder()
    server = serve(recorder.handlers, tls=own_tls(), framing=Lines())
    with SecurePeer(server.address) as peer:
        record = peer.encrypt(b"x\n" * 5000)
        attempt(peer.tls.unwrap)
        peer.send_raw(record + peer._outgoing.read())
        recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", *["data"] * 5000, "end", "close"]


def test_blocking_style(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data.upper()))
    server = serve(recorder.handlers, tls=own_tls())
    with greensock.connect(server.address, tls=trust()) as socket:
        socket.write(b"a line\nand ")
        assert next(socket.lines()) == b"A LINE"
        assert socket.read_exactly(2) == b"AN"
        with pytest.raises(TimeoutError):
            socket.read_exactly(5, timeout=0.02)
        text = stream(700_000).replace(b"\n", b"x").lower()
        socket.write(text + b"\n")
        assert socket.read_until(b"\n", max_size=10**6) == b"D " + text.upper() + b"\n"
        recorder.sockets[0].end(b"bye")
        assert socket.recv() == b"bye"
        assert socket.recv() == b""
    recorder.wait_for("close")
    assert socket.close_reason is CloseReason.EOF


def test_blocking_style_sees_truncation(serve: Serve) -> None:
    def cut_off(socket: AnySocket, data: bytes) -> None:
        socket.write(b"half")
        socket.flush()
        socket._wire.shutdown(_socket.SHUT_WR)

    recorder = Recorder(data=cut_off)
    server = serve(recorder.handlers, tls=own_tls())
    with greensock.connect(server.address, tls=trust()) as socket:
        socket.write(b"x")
        with pytest.raises(greensock.SocketClosed) as caught:
            socket.read_exactly(5)
        assert isinstance(caught.value.__cause__, ssl.SSLEOFError)
        assert socket.recv() == b"half", "what had come is not lost"
        with pytest.raises(greensock.SocketClosed):
            socket.recv()
        assert socket.close_reason is CloseReason.TRUNCATED
    recorder.wait_for("close")


def test_backpressure(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = serve(recorder.handlers, address=narrow_listener(), tls=own_tls())
    text = stream(2_000_000)
    with SecurePeer(server.address, receive_buffer=4096) as peer:
        sending = gevent.spawn(peer.socket.sendall, peer.encrypt(text))
        recorder.wait_for("data")
        socket = recorder.sockets[0]
        assert wait_until_steady(socket) < 400_000, "a handler that ignores write's answer uses bounded memory"
        assert socket.buffered > socket.server.high_water_mark
        assert peer.read_exactly(len(text)) == text
        sending.get()
        recorder.wait_for("drain")
        peer.finish()
        recorder.wait_for("close")


def test_the_write_timeout_sees_ciphertext_go(serve: Serve) -> None:
    """A slow peer takes less than what is encrypted at a time, and yet it does take something."""
    recorder = Recorder(open=lambda socket: socket.write(stream(110_000)))
    server = serve(recorder.handlers, address=narrow_listener(), tls=own_tls(), write_timeout=1.0)
    with SecurePeer(server.address, receive_buffer=2048) as peer:
        got = 0
        began = monotonic()
        while monotonic() - began < 1.5:
            got += len(peer.socket.recv(65536))  # all there is, for the kernel to ask for more
            gevent.sleep(0.1)
        assert got < 100_000, "the first batch of records is still on its way"
        assert not recorder.sockets[0].closed
        assert 0 < recorder.sockets[0].buffered < 110_000
        wait_until(lambda: recorder.sockets[0].closed)
    assert recorder.sockets[0].close_reason is CloseReason.TIMEOUT
    assert recorder.sockets[0].unsent > 0


# -- STARTTLS ----------------------------------------------------------------------------------------------


def upgrading(log: Recorder, tls: object = None, **options: Any) -> Recorder:
    """Handlers of a server that starts TLS when it is asked to."""

    def data(socket: AnySocket, data: bytes) -> None:
        if data.rstrip(b"\n") == STARTTLS.rstrip(b"\n") and not socket.encrypted:
            socket.write(GO)
            socket.upgrade_tls(own_tls() if tls is None else tls)
        else:
            socket.write(data)

    log._behaviour.update(data=data, **options)
    return log


def started(peer: SecurePeer) -> SecurePeer:
    """Have the server start TLS, and do so."""
    peer.send_raw(STARTTLS)
    assert Peer.read_exactly(peer, len(GO)) == GO
    peer.shake_hands()
    return peer


def test_starttls_on_a_server(serve: Serve) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(b"in clear")
        assert Peer.read_exactly(peer, 8) == b"in clear"
        started(peer)
        assert peer.exchange(b"secret") == b"secret"
        assert recorder.sockets[0].encrypted
        peer.finish()
        recorder.wait_for("close")
    assert recorder.events == ["open", "data", "data", "handshake", "data", "end", "close"]
    assert server.stats().handshakes == 1


def test_starttls_on_both_sides(serve: Serve) -> None:
    there = upgrading(Recorder())
    server = serve(there.handlers)

    def data(socket: AnySocket, data: bytes) -> None:
        if data == GO:
            socket.upgrade_tls(trust())
            socket.write(b"now in secret")

    here = Recorder(open=lambda socket: socket.write(STARTTLS), data=data)
    socket = greensock.connect(server.address, here.handlers)
    here.wait_for("data", 2)
    assert here.received == GO + b"now in secret"
    assert socket.authorized
    assert here.events == ["open", "data", "handshake", "data"]
    socket.close()
    there.wait_for("close")


def test_a_client_verifies_the_host_that_it_connected_to(serve: Serve) -> None:
    there = upgrading(Recorder(), greensock.TLS(**credentials("elsewhere.example")))
    server = serve(there.handlers)
    failures: list[BaseException | None] = []
    here = Recorder(
        open=lambda socket: socket.write(STARTTLS),
        data=lambda socket, data: failures.append(attempt(socket.upgrade_tls, trust())),
    )
    greensock.connect(server.address, here.handlers)
    socket, error = here.wait_for("close")
    assert isinstance(failures[0], ssl.SSLCertVerificationError)
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert socket.close_reason is CloseReason.PROTOCOL
    there.wait_for("close")


def test_starttls_in_blocking_style(serve: Serve) -> None:
    there = upgrading(Recorder())
    server = serve(there.handlers)
    with greensock.connect(server.address) as socket:
        socket.write(STARTTLS)
        assert socket.read_until(b"\n") == GO
        socket.upgrade_tls(trust())
        assert socket.authorized
        text = stream(500_000)
        socket.write(text)
        assert socket.read_exactly(len(text)) == text
    there.wait_for("close")


def test_starttls_in_a_session(serve: Serve) -> None:
    def handle(socket: AnySocket) -> None:
        assert socket.read_until(b"\n") == STARTTLS
        socket.write(GO)
        socket.upgrade_tls(own_tls())
        recorder.log.append(("upgraded", socket))
        socket.recv()

    def handshake(socket: AnySocket, authorized: bool, error: Exception | None) -> None:
        assert (socket.encrypted, authorized, error) == (True, False, None)

    recorder = Recorder(handle=handle, handshake=handshake)
    server = serve(recorder.handlers)
    with SecurePeer(server.address, shake=False) as peer:
        started(peer)
    recorder.wait_for("close")
    assert recorder.events == ["open", "handle", "handshake", "upgraded", "close"]


def test_unread_bytes_in_clear_are_refused(serve: Serve) -> None:
    there = Recorder(open=lambda socket: socket.write(GO + b"EVIL\n"))
    server = serve(there.handlers)
    with greensock.connect(server.address) as socket:
        assert socket.read_until(b"\n") == GO
        with pytest.raises(ssl.SSLError, match="5 bytes that nobody has read came in clear"):
            socket.upgrade_tls(trust())
        assert socket.closed
        with pytest.raises(greensock.SocketClosed):
            socket.recv()
    there.wait_for("close")


def test_an_upgrade_and_a_reader_at_once(serve: Serve) -> None:
    there = Recorder()
    server = serve(there.handlers)
    with greensock.connect(server.address) as socket:
        reading = gevent.spawn(attempt, socket.recv)
        turns()
        with pytest.raises(RuntimeError, match="another greenlet reads"):
            socket.upgrade_tls(trust())
        reading.kill()
        upgrading = gevent.spawn(attempt, socket.upgrade_tls, trust())
        there.wait_for("data")
        with pytest.raises(RuntimeError, match=r"upgrade_tls\(\) runs on this socket"):
            socket.recv()
        socket.terminate()
        assert isinstance(upgrading.get(), greensock.SocketClosed)
    there.wait_for("close")


def test_writes_of_others_wait_for_the_handshake(serve: Serve) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers, max_buffered=10**7)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(STARTTLS)
        assert Peer.read_exactly(peer, len(GO)) == GO
        socket = recorder.sockets[0]
        text = stream(400_000)
        room = greensock.Group([socket])
        assert room.write(text[:100]) == 1
        assert not socket.write(text[100:])  # over the high-water mark, which else sends at once
        flushing = gevent.spawn(socket.flush)
        peer.shake_hands()
        assert peer.read_exactly(len(text)) == text, "no byte in clear"
        flushing.get()
        peer.finish()
        recorder.wait_for("close")
    assert socket.buffered == socket.unsent == 0


def test_what_was_queued_before_goes_out_in_clear(serve: Serve) -> None:
    text = stream(1_000_000)

    def data(socket: AnySocket, data: bytes) -> None:
        socket.write(text)
        socket.write(GO)
        socket.upgrade_tls(own_tls())
        socket.write(b"secret")

    recorder = Recorder(data=data)
    server = serve(recorder.handlers, address=narrow_listener())
    with SecurePeer(server.address, receive_buffer=4096, shake=False) as peer:
        peer.send_raw(STARTTLS)
        socket = recorder.wait_for("data")[0]
        assert Peer.read_exactly(peer, len(text) + len(GO)) == text + GO
        peer.shake_hands()
        assert peer.read_exactly(6) == b"secret"
        assert socket.bytes_written == len(text) + len(GO) + 6
        peer.finish()
        recorder.wait_for("close")


@pytest.mark.parametrize("cut", range(len(STARTTLS) + 5))
def test_bytes_in_clear_ahead_of_the_handshake(serve: Serve, cut: int) -> None:
    """CVE-2011-0411: for every split of the segments."""
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers, framing=Lines())
    text = STARTTLS + b"EVIL\n"
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(text[:cut])
        turns()
        attempt(peer.send_raw, text[cut:])  # it may have been refused already
        attempt(peer.send_raw, peer.hello())
        attempt(peer.shake_hands)
        socket, error = recorder.wait_for("close")
    assert b"EVIL" not in recorder.received
    assert recorder.events == ["open", "data", "close"]
    assert socket.close_reason is CloseReason.PROTOCOL
    assert isinstance(error, ssl.SSLError)


def test_half_a_message_in_clear(serve: Serve) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers, framing=Lines())
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(STARTTLS + b"EVI")
        _, error = recorder.wait_for("close")
    assert "came in clear, ahead of the handshake" in str(error)


def test_a_framing_begins_anew_in_tls(serve: Serve) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers, framing=Lines())
    with SecurePeer(server.address, shake=False) as peer:
        started(peer)
        peer.send(b"one\ntw")
        peer.send(b"o\n")
        assert peer.read_exactly(6) == b"onetwo"
        peer.finish()
        recorder.wait_for("close")


@pytest.mark.parametrize("caught", [False, True])
def test_a_failed_upgrade(serve: Serve, caught: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "greensock")
    raised: list[BaseException | None] = []

    def data(socket: AnySocket, data: bytes) -> None:
        socket.write(GO)
        if caught:
            raised.append(attempt(socket.upgrade_tls, own_tls()))
        else:
            socket.upgrade_tls(own_tls())

    recorder = Recorder(data=data)
    server = serve(recorder.handlers)
    with Peer(server.address) as peer:
        peer.send(STARTTLS)
        peer.read_exactly(len(GO))
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        socket, error = recorder.wait_for("close")
    assert recorder.events == ["open", "data", "close"]
    assert socket.close_reason is CloseReason.PROTOCOL
    assert isinstance(error, ssl.SSLError)
    assert [type(found) for found in raised] == [ssl.SSLError] * caught
    assert [record.levelno for record in caplog.records if record.name == "greensock"] == [logging.DEBUG]
    assert "TLS handshake with 127.0.0.1:" in caplog.text
    stats = server.stats()
    assert (stats.handshake_failures, stats.errors) == (1, 0)


def test_an_upgrade_that_stalls(serve: Serve) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers, handshake_timeout=0.1)
    with Peer(server.address) as peer:
        peer.send(STARTTLS)
        peer.read_exactly(len(GO))
        socket, error = recorder.wait_for("close")
        assert peer.is_reset()
    assert socket.close_reason is CloseReason.TIMEOUT
    assert isinstance(error, TimeoutError)


def test_an_upgrade_whose_peer_resets(serve: Serve) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers)
    with Peer(server.address) as peer:
        peer.send(STARTTLS)
        peer.read_exactly(len(GO))
        peer.reset()
        socket, error = recorder.wait_for("close")
    assert socket.close_reason is CloseReason.RESET
    assert isinstance(error, ConnectionResetError)


@pytest.mark.parametrize("way", ["close", "terminate"])
def test_an_upgrade_whose_socket_is_closed(serve: Serve, way: str) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers, close_timeout=0.1)
    with Peer(server.address) as peer:
        peer.send(STARTTLS)
        peer.read_exactly(len(GO))
        getattr(recorder.sockets[0], way)()
        attempt(peer.read_to_end)
        peer.close()
        socket, error = recorder.wait_for("close")
    assert (socket.close_reason, error) == (CloseReason.LOCAL, None)


def test_an_upgrade_that_is_killed(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    with Peer(server.address) as peer:
        recorder.wait_for("open")
        upgrading = gevent.spawn(recorder.sockets[0].upgrade_tls, own_tls())
        turns()
        upgrading.kill()
        assert peer.is_reset()
        recorder.wait_for("close")


def test_an_upgrade_in_a_drain(serve: Serve) -> None:
    recorder = upgrading(Recorder())
    server = serve(recorder.handlers)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(STARTTLS)
        Peer.read_exactly(peer, len(GO))
        server.stop(close_active=True)
        peer.shake_hands()
        assert peer.read_to_end() == b""
        peer.finish()
        recorder.wait_for("close")
    assert recorder.events == ["open", "data", "handshake", "stopping", "close"]


def test_upgrades_that_cannot_be(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    peer = dial(server)
    socket = recorder.wait_for("open")[0]
    for wrong in (None, True, {"key": "nonsense", "cert": "nonsense"}, 7):
        with pytest.raises(ValueError):
            socket.upgrade_tls(wrong)
    assert not socket.closed, "it stays as it was"
    socket.end()
    with pytest.raises(greensock.SocketClosed):
        socket.upgrade_tls(own_tls())
    assert peer.read_to_end() == b""
    secure = serve(recorder.handlers, tls=own_tls())
    with SecurePeer(secure.address), pytest.raises(ValueError, match="there is TLS on this connection already"):
        recorder.wait_for("open", 2)[0].upgrade_tls(own_tls())
