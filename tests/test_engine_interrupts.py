"""A signal whose handler raises, at each place of greensock's code where Python would call it, one after the other.

Whatever was under way then: the connection that it strikes ends, and is counted and closed; others are served as
before, and the main greenlet has the exception.
"""

import pytest

from program import Launch

PROGRAM = """
    import collections, itertools, os, sys
    import gevent, gevent.event, gevent.socket, greensock, greensock.framing
    sys.path.append("tests")
    from interrupts import PACKAGE, places

    # gevent stops the watcher of a callback that raises before its first line, and a descriptor is lost that the kernel
    # has given and no socket has yet.
    BEYOND_HELP = [("_do_read", 0), ("_accept_one", 1), ("_accepted", 0)]

    def answers(socket, data):
        socket.write(data)

    def blocks(socket, data):
        gevent.sleep(0)
        socket.write(data)
        gevent.sleep(0)

    def has_others_write(socket, data):
        gevent.spawn(socket.write, data)

    def writes_much(socket, data):
        socket.write(data * 500_000 if data == b"victim" else data)

    def messages(socket, message):
        socket.write_message(message)

    def session(socket):
        for data in socket:
            socket.write(data)


    class Interrupter:
        def __init__(self, number):
            self.left = number
            self.armed = False
            self.place = ""

        def trace(self, frame, event, argument):
            if not self.left or not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return self.look

        def look(self, frame, event, argument):
            if not self.left:
                return None  # it has struck
            if self.armed and event == "opcode" and frame.f_lasti in (known := places(frame.f_code)):
                self.left -= (frame.f_code.co_name, known[frame.f_lasti]) not in BEYOND_HELP
                if not self.left:
                    self.armed = False
                    file = frame.f_code.co_filename.removeprefix(PACKAGE)
                    self.place = f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"
                    raise KeyboardInterrupt
            return self.look


    def exchange(address, data, timeout=5, tell=lambda: None):
        try:
            with gevent.socket.create_connection(address, timeout=timeout) as client:
                client.sendall(data)
                answer = client.recv(100_000)
                while answer and len(answer) % len(data):
                    answer += client.recv(100_000)
                client.shutdown(gevent.socket.SHUT_WR)
                while client.recv(100_000):
                    pass
                return answer[:len(data)]
        except OSError as error:
            return error
        finally:
            tell()


    def strike(number, kind):
        # Where that was, and what is wrong after it.
        interrupter = Interrupter(number)
        gevent.get_hub().loop.run_callback(sys.settrace, interrupter.trace)
        gevent.sleep(0)
        closed = []
        event = "handle" if kind == "session" else "data"
        handlers = {event: globals()[kind], "close": lambda socket, error: closed.append(socket)}
        framing = greensock.framing.Fixed(1) if kind == "messages" else None
        server = greensock.listen(("127.0.0.1", 0), handlers, framing=framing)
        with gevent.socket.create_connection(server.address, timeout=5) as other:
            other.sendall(b"before")
            assert other.recv(10) == b"before"
            done = gevent.event.Event()
            gevent.spawn(exchange, server.address, b"victim", 0.2, done.set)  # its answer may be what was lost
            interrupter.armed = True
            interrupts = 0
            while not (done.is_set() and server._shared.alive == 1):
                try:
                    with gevent.Timeout(5):
                        done.wait()
                        while server._shared.alive > 1:
                            gevent.sleep(0)
                    break
                except KeyboardInterrupt:
                    interrupts += 1
                except gevent.Timeout:
                    return interrupter.place, f"never over: {list(server.sockets)}"
            interrupter.armed = False
            other.sendall(b"after")
            if (answer := other.recv(10)) != b"after":
                return interrupter.place, f"another connection: {answer}"
        if (answer := exchange(server.address, b"new")) != b"new":
            return interrupter.place, f"a new connection: {answer}"
        server.stop(5)
        engine = server._engine
        left = [*engine.ready, *engine.dirty, *engine.blocked, *server._shared.sockets]
        if server._shared.alive or server._shared.referenced or engine.current or left:
            return interrupter.place, f"left behind: {left}"
        if interrupter.place and (interrupts, len(closed)) not in [(1, 2), (1, 3)]:  # 2: it came before open
            return interrupter.place, f"{interrupts} interrupts, {len(closed)} closes"
        return interrupter.place, ""


    def in_a_child(number):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # gevent prints what is raised in its hub
            try:
                text = "|".join(strike(number, sys.argv[1]))
            except BaseException as error:
                text = f"{number}|{error!r}"
            os.write(writing, text.encode())
            os._exit(0)
        os.close(writing)
        return open(reading)


    number = 0
    following = itertools.count(1)
    children = collections.deque(in_a_child(next(following)) for _ in range(6))  # each waits most of the time
    while children:
        with children.popleft() as child:
            place, _, wrong = child.read().partition("|")
        os.wait()
        if place:
            number += 1
            children.append(in_a_child(next(following)))
        if wrong:
            print(place, wrong)
    print("places", number)
"""


@pytest.mark.parametrize("kind", ["answers", "blocks", "has_others_write", "writes_much", "messages", "session"])
def test_wherever_it_strikes_one_connection_ends_and_nothing_else(kind: str, launch: Launch) -> None:
    program = launch(PROGRAM, kind)
    wrong = []
    while not (line := program.line()).startswith("places "):
        wrong.append(line)
    assert wrong == []
    assert int(line.split()[1]) > 150, "it has struck"
    assert program.finish() == (0, "", "")
