"""Threads and waiting of the operating system, whatever gevent has put in their place."""

from program import Launch


def test_they_are_those_of_the_system_in_a_patched_program(launch: Launch) -> None:
    done = launch(
        """
        import gevent.monkey
        gevent.monkey.patch_all()
        import os, signal, gevent
        from greensock.serve import native

        reader, writer = os.pipe()
        seen = []

        def run():
            gone_on = native.allocate_lock()
            gone_on.acquire()
            poll = native.poll()
            poll.register(reader)
            poll.poll()  # the loop goes on meanwhile, or nobody would write
            native.sleep(0.01)
            seen.append(native.get_ident())
            seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, []) >= {signal.SIGTERM, signal.SIGPROF})
            seen.append(gevent._hub_local.get_hub_if_exists())
            os.write(writer, b"x")

        native.start_thread(run)
        gevent.sleep(0.01)
        os.write(writer, b"x")
        while len(seen) < 3:
            gevent.sleep(0.001)
        assert seen[0] != native.get_ident()
        assert seen[1:] == [True, None], seen
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        """
    )
    assert done.finish() == (0, "", "")
