from gateway.dimse.buffers import Buffers

LARGE = 512 * 1024


def test_buffer_that_somebody_still_reads_is_not_written_over() -> None:
    buffers = Buffers()
    buffer = buffers.take(LARGE)
    buffer[:4] = b"abcd"
    view = memoryview(buffer)[:4]
    buffers.give(buffer)
    del buffer
    for _ in range(3):
        other = buffers.take(LARGE)
        other[:4] = b"efgh"
        buffers.give(other)
        del other
    assert bytes(view) == b"abcd"


def test_buffer_that_nobody_reads_any_more_is_used_again() -> None:
    buffers = Buffers()
    buffer = buffers.take(LARGE)
    buffer[:4] = b"abcd"
    buffers.give(buffer)
    del buffer
    assert buffers.take(LARGE)[:4] == b"abcd"


def test_no_more_buffers_are_kept_than_was_said() -> None:
    buffers = Buffers(most=2)
    held = [buffers.take(LARGE) for _ in range(5)]
    for buffer in held:
        buffer[0] = 1
        buffers.give(buffer)
    del buffer
    held.clear()
    taken = [buffers.take(LARGE) for _ in range(5)]
    assert sum(buffer[0] for buffer in taken) == 2
