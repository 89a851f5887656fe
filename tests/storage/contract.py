"""What every store must do, whatever holds its bytes; a subclass gives `stores`, which opens the same place anew."""

import io
import threading
from collections.abc import Callable

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsir_scale.errors import IntegrityError
from rsir_scale.storage.base import AlreadyExistsError, ObjectMissingError, Store, sha256_of

WRITES = ("create", "put", "put_new")
Stores = Callable[[], Store]


class StoreContract:
    """Tests that every store passes."""

    @pytest.fixture
    def stores(self) -> Stores:
        raise NotImplementedError

    @pytest.mark.parametrize("operation", WRITES)
    def test_what_was_written_is_read_by_another_process_hand(self, stores: Stores, operation: str) -> None:
        getattr(stores(), operation)("a/b", b"bytes")
        store = stores()
        assert store.exists("a/b")
        assert (store.read("a/b"), store.read_if_exists("a/b"), store.open_read("a/b").read()) == (b"bytes",) * 3

    @pytest.mark.parametrize("operation", ["create", "put_new"])
    def test_what_exists_is_never_written_over(self, stores: Stores, operation: str) -> None:
        store = stores()
        getattr(store, operation)("a", b"first")
        with pytest.raises(AlreadyExistsError):
            getattr(store, operation)("a", b"second")
        assert store.read("a") == b"first"

    def test_put_replaces_the_whole_object(self, stores: Stores) -> None:
        store = stores()
        store.put("a", b"a longer one")
        store.put("a", b"short")
        assert store.read("a") == b"short"

    def test_a_missing_object_is_told_from_an_empty_one(self, stores: Stores) -> None:
        store = stores()
        store.put("empty", b"")
        assert (store.read("empty"), store.open_read("empty").read()) == (b"", b"")
        assert (store.read_if_exists("absent/a"), store.exists("absent/a")) == (None, False)
        for call in (store.read, store.open_read):
            with pytest.raises(ObjectMissingError, match="absent/a is missing"):
                call("absent/a")

    def test_what_is_deleted_is_gone_and_may_be_created_again(self, stores: Stores) -> None:
        store = stores()
        store.delete("a/b")
        store.create("a/b", b"1")
        store.delete("a/b")
        assert not store.exists("a/b")
        store.create("a/b", b"2")

    def test_a_list_names_all_below_a_folder_and_no_more(self, stores: Stores) -> None:
        store = stores()
        for key in ("b/2", "b/1", "b/c/3", "bb/4", "a"):
            store.put(key, b"")
        assert list(store.list("b")) == ["b/1", "b/2", "b/c/3"]
        assert sorted(store.list("")) == ["a", "b/1", "b/2", "b/c/3", "bb/4"]
        assert list(store.list("absent")) == []

    def test_one_of_many_creators_wins(self, stores: Stores) -> None:
        barrier, winners = threading.Barrier(8), []

        def contend(number: int) -> None:
            store = stores()
            barrier.wait()
            try:
                store.create("lease", str(number).encode())
            except AlreadyExistsError:
                return
            winners.append(number)

        threads = [threading.Thread(target=contend, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
        assert stores().read("lease") == str(winners[0]).encode()

    def test_lines_come_back_in_order_each_on_one_line(self, stores: Stores) -> None:
        assert stores().read_lines("log") == []
        for line in ("first", "second\nwith a break", "third"):
            stores().append_line("log", line)
        assert stores().read_lines("log") == [b"first", b"second with a break", b"third"]

    def test_a_reader_seeks_as_a_file_does(self, stores: Stores) -> None:
        store, data = stores(), bytes(range(256)) * 40
        store.put("a", data)
        with store.open_read("a") as reader:
            assert reader.seek(-10, io.SEEK_END) == len(data) - 10
            assert reader.read() == data[-10:]
            assert reader.seek(300) == 300
            assert (reader.read(7), reader.tell()) == (data[300:307], 307)
            assert reader.seek(5, io.SEEK_CUR) == 312
            assert reader.read(1) == data[312:313]

    def test_parquet_is_read_by_arrow_and_by_polars(self, stores: Stores) -> None:
        store, buffer = stores(), io.BytesIO()
        table = pa.table({"a": list(range(5000)), "b": [str(row) for row in range(5000)]})
        pq.write_table(table, buffer, row_group_size=512)
        store.put_new("part[1]*.parquet", buffer.getvalue())
        with store.open_read("part[1]*.parquet") as reader:
            assert pq.read_table(reader, use_threads=False).equals(table)
        address, options = store.polars_address("part[1]*.parquet")
        found = pl.scan_parquet(address, glob=False, storage_options=options).select(pl.col("a").sum()).collect()
        assert found.item() == sum(range(5000))

    def test_the_hash_of_an_object_is_that_of_its_bytes(self, stores: Stores) -> None:
        store = stores()
        store.put_new("a", b"abc")
        expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert sha256_of(store, "a") == (expected, 3)

    def test_atomic_creation_is_found_to_work_and_leaves_nothing_behind(self, stores: Stores) -> None:
        stores().require_atomic_create()
        assert list(stores().list("")) == []

    @pytest.mark.parametrize("key", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", ".", "a\\b", "a\0"])
    def test_malformed_keys_are_refused(self, stores: Stores, key: str) -> None:
        store = stores()
        for call in (store.read, store.open_read, store.exists, store.delete, store.polars_address):
            with pytest.raises(IntegrityError, match="no path inside"):
                call(key)
        for operation in WRITES:
            with pytest.raises(IntegrityError, match="no path inside"):
                getattr(store, operation)(key, b"")

    @pytest.mark.parametrize("name", ["with space", "ümläut", "a%2Fb", "a+b", "a#b?c=d&e", "[1]*", "~", "'\"", "a:b"])
    def test_an_object_is_found_under_whatever_name_it_has(self, stores: Stores, name: str) -> None:
        store = stores()
        store.put(f"x/{name}", b"1")
        assert store.read(f"x/{name}") == b"1"
        assert list(store.list("x")) == [f"x/{name}"]
        store.delete(f"x/{name}")
        assert not store.exists(f"x/{name}")
