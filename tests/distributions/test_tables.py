from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from pyro_textvae_distributions._tables import kept


def test_tables_that_two_threads_make_at_once_do_not_take_each_others_place():
    both_are_making = Barrier(2, timeout=60)

    def made(size: int) -> int:
        both_are_making.wait()
        return size

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda size: kept(made, size), (3, 5))) == [3, 5]
    assert [kept(made, 3), kept(made, 5)] == [3, 5]  # which makes none: nobody would wait with it
