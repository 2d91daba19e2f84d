import threading

import pytest

from odml.parallel import parallel_map


def test_results_come_in_the_order_of_the_items():
    assert list(parallel_map(lambda number: number * number, range(100))) == [number**2 for number in range(100)]


def test_no_items_give_no_results():
    assert list(parallel_map(str, [])) == []


def test_an_error_of_one_item_is_raised():
    def invert(number: int) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError):
        list(parallel_map(invert, [1, 0]))


def test_items_are_taken_only_a_few_ahead(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    taken: list[int] = []
    results = parallel_map(str, (taken.append(number) or number for number in range(1000)))
    next(results)
    assert len(taken) == 9
    results.close()


def test_no_thread_is_left_when_the_results_are_not_read_to_the_end():
    before = threading.active_count()
    results = parallel_map(str, range(1000))
    next(results)
    results.close()
    assert threading.active_count() == before
