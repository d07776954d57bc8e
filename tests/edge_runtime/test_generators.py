"""Going through long work: its result, what it tells, and that stopping reaches it."""

from edge_runtime.generators import finished, retold


def work(log):
    try:
        yield 1
        yield 2
    finally:
        log.append("closed")
    return "done"


def test_the_result_and_what_was_told():
    told: list[int] = []
    assert finished(work([]), told.append) == "done" and told == [1, 2]
    assert finished(work([])) == "done"


def test_retold_tells_otherwise_and_returns_the_same():
    told: list[int] = []
    assert finished(retold(work([]), lambda number: 10 * number), told.append) == "done" and told == [10, 20]


def test_closing_reaches_the_work():
    log: list[str] = []
    outer = retold(work(log), str)
    assert next(outer) == "1" and not log
    outer.close()
    assert log == ["closed"]
