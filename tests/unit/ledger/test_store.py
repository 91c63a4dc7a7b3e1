"""Files that are whole or absent, in folders and on object stores."""

import errno
import fcntl
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from chimera_ray.errors import ConfigError, LedgerError
from chimera_ray.ledger.store import Store


@pytest.fixture(params=["local", "object_store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A folder, opened as a folder, and as something of which only pyarrow knows what it is."""
    opened = Store(str(tmp_path / "out"))
    if request.param == "object_store":
        (tmp_path / "out").mkdir()
        opened.fs = pafs.SubTreeFileSystem(str(tmp_path / "out"), pafs.LocalFileSystem())
        opened.root, opened.is_local = "", False
    return opened


def _files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_write_then_read_gives_the_same_bytes(store: Store) -> None:
    store.write("a/b/file.bin", lambda sink: sink.write(b"\x00\xff" * 3_000_000))
    assert bytes(store.read_bytes("a/b/file.bin")) == b"\x00\xff" * 3_000_000
    assert store.size("a/b/file.bin") == 6_000_000
    assert store.exists("a/b/file.bin")


def test_write_text_hostile_reads_back_equal(store: Store) -> None:
    text = "数学 \x00 \r\n \U0001f600"
    store.write_text("file.txt", text)
    assert store.read_text("file.txt") == text


def test_write_over_a_file_replaces_it(store: Store, tmp_path: Path) -> None:
    store.write_text("file.txt", "a longer text than the other")
    store.write_text("file.txt", "short")
    assert store.read_text("file.txt") == "short"
    assert _files(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    "error",
    [ValueError("a bug"), OSError("no space left"), KeyboardInterrupt()],
    ids=["bug", "disk", "interrupt"],
)
def test_write_whose_fill_raises_leaves_nothing(
    store: Store, tmp_path: Path, error: BaseException
) -> None:
    def fill(sink: Any) -> None:
        sink.write(b"half of it")
        raise error

    wanted = LedgerError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted):
        store.write("folder/file.bin", fill)
    assert _files(tmp_path) == []
    assert not store.exists("folder/file.bin")


def test_write_whose_fill_raises_leaves_the_old_file(store: Store, tmp_path: Path) -> None:
    def fill(sink: Any) -> None:
        sink.write(b"half of it")
        raise ValueError("a bug")

    store.write_text("file.txt", "old")
    with pytest.raises(ValueError, match="a bug"):
        store.write("file.txt", fill)
    assert store.read_text("file.txt") == "old"
    assert _files(tmp_path) == ["file.txt"]


def test_write_below_a_file_raises_ledger_error_naming_the_path(store: Store) -> None:
    store.write_text("file", "in the way")
    with pytest.raises(LedgerError, match="file/part"):
        store.write_text("file/part", "text")


def test_names_are_sorted_and_none_where_there_is_no_folder(store: Store) -> None:
    for name in ("b", "a", "c/d"):
        store.write_text(f"folder/{name}", "text")
    assert store.names("folder") == ["a", "b", "c"]
    assert store.names("no/such/folder") == []


def test_names_of_a_file_are_none(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_text("file", "text")
    assert store.names("file") == []


def test_read_of_nothing_raises_file_not_found(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nothing")
    assert store.size("nothing") == 0
    assert not store.exists("nothing")


def test_move_and_delete_of_nothing_do_nothing(store: Store) -> None:
    store.move("nothing", "elsewhere/nothing")
    store.delete("nothing")
    assert not store.exists("elsewhere/nothing")


def test_move_takes_the_file_and_its_content(store: Store) -> None:
    store.write_text("a/file", "text")
    store.move("a/file", "b/c/file")
    assert store.read_text("b/c/file") == "text"
    assert not store.exists("a/file")
    store.delete("b/c/file")
    assert not store.exists("b/c/file")


def test_move_that_cannot_be_raises_ledger_error(store: Store) -> None:
    store.write_text("file", "in the way")
    store.write_text("other", "text")
    with pytest.raises(LedgerError, match="other"):
        store.move("other", "file/other")


def test_require_writable_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    store.require_writable()
    assert _files(tmp_path) == []


def test_require_writable_sweeps_probes_of_the_dead(tmp_path: Path) -> None:
    for name in (".probe-1-ab", "..probe-1-ab-abcdefgh.tmp", ".probes", "probe-1"):
        (tmp_path / name).write_text("x")
    Store(str(tmp_path)).require_writable()
    assert _files(tmp_path) == [".probes", "probe-1"]


def test_require_writable_below_a_file_raises_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="output_dir"):
        Store(str(tmp_path / "file" / "out")).require_writable()


def test_require_writable_of_a_name_too_long_raises_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^output_dir: cannot write to .*: File name too long$"):
        Store(str(tmp_path / ("x" * 300))).require_writable()


@pytest.mark.parametrize("location", ["s3://?region=x", "mock://", "/", "file:///"])
def test_store_whose_folders_would_be_taken_for_buckets_is_refused(location: str) -> None:
    with pytest.raises(ConfigError, match=r"^output_dir: .* names no folder: give one below it$"):
        Store(location)


def test_lock_is_held_by_one_at_a_time_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with store.lock("runs/.lock") as is_ours, store.lock("runs/.lock") as is_theirs:
        assert is_ours
        assert is_theirs is not store.is_local
    with store.lock("runs/.lock") as is_ours:
        assert is_ours
    assert _files(tmp_path) == []


def test_lock_where_files_cannot_be_locked_is_anybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Store(str(tmp_path)).lock("runs/.lock") as is_ours:
        assert is_ours


def test_store_by_uri_and_by_path_is_the_same_folder(tmp_path: Path) -> None:
    Store(tmp_path.as_uri()).write_text("file", "text")
    assert Store(str(tmp_path)).read_text("file") == "text"


def test_store_opened_on_nothing_makes_nothing(tmp_path: Path) -> None:
    Store(str(tmp_path / "nothing")).names("ledger")
    assert list(tmp_path.iterdir()) == []
