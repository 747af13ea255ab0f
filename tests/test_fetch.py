"""Fetching a file: whole and right, or not at all, from a server that does everything servers do."""

import errno
import hashlib
import multiprocessing
import os
import random
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from local_server import LocalServer

from gavs_lib.data import fetch as room
from gavs_lib.data.fetch import Remote, cache_folder, fetch, verify

BYTES = random.Random(0).randbytes(400_000)  # several blocks
OTHER = random.Random(1).randbytes(400_000)
PIECE = 1 << 17  # a whole number of blocks, so that an interruption loses none


@pytest.fixture
def site(site):
    site.files["data.bin"], site.piece = BYTES, PIECE
    return site


def remote(*urls: str, **changes) -> Remote:
    return replace(Remote("data.bin", urls, len(BYTES), hashlib.sha256(BYTES).hexdigest()), **changes)


def quiet(*args, **options) -> Path:
    return fetch(*args, progress=False, **options)


def ranges(site: LocalServer) -> list[str]:
    return [asked for _, asked in site.requests]


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_is_fetched_once_and_is_then_there_without_the_net(site, tmp_path):
    file = remote(f"{site.address}/data.bin")
    path = quiet(file, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "data.bin" and path.read_bytes() == BYTES
    assert visible(path.parent) == ["data.bin"], "no part is left"
    assert quiet(file, path.parent) == quiet(file, path.parent, offline=True) == path and len(site.requests) == 1


@pytest.mark.parametrize("deed", ["break", "stall"])
def test_a_broken_or_stalled_download_goes_on_where_it_stopped(site, tmp_path, monkeypatch, deed):
    monkeypatch.setattr(room, "_TIMEOUTS", (5.0, 0.3))
    site.plan, site.piece = [deed, deed], 100_000
    assert quiet(remote(f"{site.address}/data.bin"), tmp_path).read_bytes() == BYTES
    first, *later = ranges(site)
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in later]
    assert first == "" and 80_000 < starts[0] <= 100_000 and 160_000 < starts[1] <= 200_000  # less a block each


def test_more_interruptions_than_attempts_are_borne_while_each_brings_something(site, tmp_path):
    site.plan, site.piece = ["break"] * 100, 50_000
    assert quiet(remote(f"{site.address}/data.bin"), tmp_path).read_bytes() == BYTES
    assert len(site.requests) > room._ATTEMPTS


def test_a_server_that_knows_no_ranges_is_read_from_the_start_and_given_up_if_it_never_gets_further(site, tmp_path):
    site.plan = ["break", "no range"]
    assert quiet(remote(f"{site.address}/data.bin"), tmp_path / "a").read_bytes() == BYTES
    site.etag = lambda content: None  # then no range is asked for, unless a checksum tells the end
    site.requests.clear()
    site.plan = ["break"] * 100
    with pytest.raises(ConnectionError, match=f"given up after {room._ATTEMPTS} attempts, with {PIECE:,} bytes"):
        quiet(remote(f"{site.address}/data.bin", sha256=None), tmp_path / "b")
    assert ranges(site) == [""] * room._ATTEMPTS


def test_a_weak_etag_does_not_promise_equal_bytes(site, tmp_path):
    site.etag = lambda content: 'W/"1"'
    site.plan = ["break"]
    quiet(remote(f"{site.address}/data.bin", sha256=None), tmp_path / "unchecked")
    assert ranges(site) == ["", ""]
    site.plan = ["break"]
    quiet(remote(f"{site.address}/data.bin"), tmp_path / "checked")
    assert ranges(site)[2:] == ["", f"bytes={PIECE}-"]


def interrupted(site: LocalServer, file: Remote, folder: Path) -> Path:
    """A first call that leaves half of the file; its part."""
    site.plan = ["break", "404"]
    with pytest.raises(ConnectionError):
        quiet(file, folder)
    site.requests.clear()
    return folder / "data.bin.part"


def test_a_later_call_goes_on_with_what_an_earlier_one_left(site, tmp_path):
    file = remote(f"{site.address}/data.bin")
    assert interrupted(site, file, tmp_path).read_bytes() == BYTES[:PIECE]
    assert quiet(file, tmp_path).read_bytes() == BYTES and ranges(site) == [f"bytes={PIECE}-"]


def test_a_file_that_changed_at_its_source_is_not_put_together_from_two_versions(site, tmp_path):
    file = remote(f"{site.address}/data.bin", sha256=None)  # so that nothing but the version tells
    site.files["data.bin"] = OTHER
    interrupted(site, file, tmp_path)
    site.files["data.bin"] = BYTES
    assert quiet(file, tmp_path).read_bytes() == BYTES and ranges(site) == [f"bytes={PIECE}-"]


@pytest.mark.parametrize("checked", [True, False])
def test_a_part_of_one_address_is_continued_from_another_where_a_checksum_tells_the_end(site, tmp_path, checked):
    file = remote(f"{site.address}/data.bin", **({} if checked else {"sha256": None}))
    interrupted(site, file, tmp_path)
    assert quiet(file, tmp_path, mirrors=[f"{site.address}/redirect"]).read_bytes() == BYTES
    assert ranges(site) == ([f"bytes={PIECE}-"] * 2 if checked else ["", ""])  # the address, and where it sends to


def test_parts_of_two_versions_at_two_addresses_are_not_put_together(site, tmp_path):
    file = remote(f"{site.address}/data.bin")
    site.files["data.bin"] = OTHER
    interrupted(site, file, tmp_path)
    site.files["data.bin"] = BYTES
    assert quiet(file, tmp_path, mirrors=[f"{site.address}/redirect"]).read_bytes() == BYTES
    assert ranges(site) == [f"bytes={PIECE}-"] * 2 + [""] * 2


@pytest.mark.parametrize("damage", ["another version", "zeros"])
def test_a_continued_file_that_turns_out_wrong_is_fetched_once_more_from_the_start(site, tmp_path, damage):
    file = remote(f"{site.address}/data.bin")
    part = interrupted(site, file, tmp_path)
    if damage == "zeros":  # as a power cut leaves them
        part.write_bytes(bytes(PIECE))
    else:
        part.write_bytes(OTHER[:PIECE])
        site.etag, site.plan = lambda content: '"2"', ["any version"]
    assert quiet(file, tmp_path).read_bytes() == BYTES and ranges(site) == [f"bytes={PIECE}-", ""]


def test_a_part_that_is_too_long_or_was_whole_already(site, tmp_path):
    file = remote(f"{site.address}/data.bin")
    interrupted(site, file, tmp_path).write_bytes(BYTES + b"more")
    assert quiet(file, tmp_path).read_bytes() == BYTES and ranges(site) == ["bytes=400004-", ""]
    (tmp_path / "data.bin").unlink()
    interrupted(site, file, tmp_path).write_bytes(BYTES)
    assert quiet(file, tmp_path).read_bytes() == BYTES and ranges(site) == []


def test_a_killed_download_goes_on_where_it_stopped(site, tmp_path):
    file = remote(f"{site.address}/data.bin")
    site.plan = ["stall"]
    process = multiprocessing.get_context("fork").Process(target=quiet, args=(file, tmp_path))
    process.start()
    part = tmp_path / "data.bin.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    left = part.stat().st_size
    assert visible(tmp_path) == ["data.bin.part"] and 100_000 < left <= PIECE
    assert quiet(file, tmp_path).read_bytes() == BYTES and ranges(site) == ["", f"bytes={left}-"]


def test_several_at_once_fetch_one_file_once(site, tmp_path):
    file, paths = remote(f"{site.address}/data.bin"), []
    site.plan = ["break"]
    threads = [threading.Thread(target=lambda: paths.append(quiet(file, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and len(site.requests) == 2 and paths[0].read_bytes() == BYTES


def test_redirects_are_followed_and_keep_the_range(site, tmp_path):
    site.plan = ["whole", "break", "whole", "whole"]
    quiet(remote(f"{site.address}/redirect/data.bin"), tmp_path)
    assert site.requests[1:] == [
        ("data.bin", ""),
        ("redirect/data.bin", f"bytes={PIECE}-"),
        ("data.bin", f"bytes={PIECE}-"),
    ]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(site, tmp_path):
    site.plan = ["503", "429"]
    quiet(remote(f"{site.address}/data.bin"), tmp_path)
    assert len(site.requests) == 3
    site.requests.clear()
    with pytest.raises(ConnectionError, match=r"/nowhere: HTTP 404 Not Found\. To get it by hand: download http"):
        quiet(remote(f"{site.address}/nowhere"), tmp_path / "b")
    assert len(site.requests) == 1 and visible(tmp_path / "b") == []


def test_the_next_address_is_asked_and_all_that_failed_are_named(site, tmp_path):
    bad = [f"{site.address}/nowhere", "http://127.0.0.1:1/data.bin", "no-address"]
    assert quiet(remote(*bad, f"{site.address}/data.bin"), tmp_path / "a").read_bytes() == BYTES
    with pytest.raises(ConnectionError) as raised:
        quiet(remote(*bad), tmp_path / "b")
    assert all(f"{address}: " in str(raised.value) for address in bad)
    assert "Connection refused" in str(raised.value) and "No scheme supplied" in str(raised.value)


def test_mirrors_come_first(site, tmp_path, monkeypatch):
    monkeypatch.setenv("GAVS_MIRROR", f"{site.address}/theirs/")
    with pytest.raises(ConnectionError):
        quiet(remote(f"{site.address}/official"), tmp_path, mirrors=[f"{site.address}/mine"])
    assert [name for name, _ in site.requests] == ["mine/data.bin", "theirs/data.bin", "official"]
    site.files["theirs/data.bin"] = BYTES
    assert quiet(remote(f"{site.address}/official"), tmp_path).read_bytes() == BYTES


def test_a_wrong_file_is_deleted_and_named(site, tmp_path):
    site.files |= {"other": OTHER, "short": BYTES[:1000]}
    with pytest.raises(ConnectionError) as raised:
        quiet(remote(f"{site.address}/other", f"{site.address}/short"), tmp_path)
    found = hashlib.sha256(OTHER).hexdigest()
    assert f"/other: gives another file: it has SHA-256 {found}, and was deleted." in str(raised.value)
    assert "/short: offers another file, of 1,000 bytes instead of 400,000." in str(raised.value)
    assert visible(tmp_path) == []


def test_a_wrong_file_in_pieces_is_fetched_twice_and_no_more(site, tmp_path):
    site.files["data.bin"], site.plan = OTHER, ["break", "whole"] * 10
    with pytest.raises(ConnectionError, match="gives another file"):
        quiet(remote(f"{site.address}/data.bin"), tmp_path)
    assert ranges(site) == ["", f"bytes={PIECE}-"] * 2 and visible(tmp_path) == []


def test_the_beginning_of_a_sha256_is_a_checksum_as_well(site, tmp_path):
    right = hashlib.sha256(BYTES).hexdigest()
    quiet(remote(f"{site.address}/data.bin", sha256=right[:8].upper()), tmp_path / "a")
    with pytest.raises(ConnectionError, match="SHA-256 begins with 00000000"):
        quiet(remote(f"{site.address}/data.bin", sha256="00000000"), tmp_path / "c")


def test_a_file_of_unknown_size_without_checksum_is_taken_whole(site, tmp_path):
    site.plan = ["break"]
    assert quiet(remote(f"{site.address}/data.bin", size=None, sha256=None), tmp_path).read_bytes() == BYTES


def test_offline_says_where_to_get_what_and_where_to_put_it(site, tmp_path, monkeypatch):
    file = remote(f"{site.address}/data.bin")
    monkeypatch.setenv("GAVS_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as raised:
        fetch(file, tmp_path)
    message, path = str(raised.value), tmp_path / "data.bin"
    assert f"{path}: no such file" in message and f"download {site.address}/data.bin" in message
    assert f"400,000 bytes, SHA-256 {file.sha256}" in message and f"`sha256sum {path}`" in message
    path.write_bytes(BYTES)
    assert fetch(file, tmp_path) == path and not site.requests
    path.unlink()
    monkeypatch.setenv("GAVS_OFFLINE", "0")
    assert quiet(file, tmp_path) == path


def test_a_wrong_file_in_the_folder_is_refused_and_left_to_its_owner(site, tmp_path):
    file, path = remote(f"{site.address}/data.bin"), tmp_path / "data.bin"
    for content, found in ((OTHER, "has SHA-256"), (BYTES[:-1], "has 399,999 bytes")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"data.bin: {found}.*delete it and fetch it again"):
            fetch(file, tmp_path)
        assert path.read_bytes() == content and not site.requests


def test_a_file_is_hashed_once_and_again_when_it_or_its_checksum_changed(site, tmp_path, monkeypatch):
    file, path = remote(f"{site.address}/data.bin"), tmp_path / "data.bin"
    path.write_bytes(BYTES)
    hashed = []
    difference = room._difference
    monkeypatch.setattr(room, "_difference", lambda *args: hashed.append(args) or difference(*args))
    for _ in range(3):
        fetch(file, tmp_path)
    assert len(hashed) == 1
    with pytest.raises(ValueError):
        fetch(replace(file, sha256="0" * 64), tmp_path)
    path.write_bytes(OTHER)
    with pytest.raises(ValueError):
        fetch(file, tmp_path)
    assert len(hashed) == 3


def test_a_file_elsewhere_is_verified_by_its_path(tmp_path):
    path = tmp_path / "mine.bin"
    path.write_bytes(BYTES)
    assert verify(str(path), remote()) == path and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="none.bin: no such file; expected data.bin"):
        verify(tmp_path / "none.bin", remote())


def test_a_disk_that_is_too_small_is_noticed_before_and_a_full_one_keeps_what_has_arrived(site, tmp_path, monkeypatch):
    file = remote(f"{site.address}/data.bin")
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 10**5, 10**5))
        with pytest.raises(OSError, match="no room for 400,000 bytes; free some space") as raised:
            quiet(file, tmp_path)
        assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(tmp_path / "data.bin.part")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as filled:
        filled.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no room for"):
            quiet(file, tmp_path)
    site.requests.clear()
    assert quiet(file, tmp_path).read_bytes() == BYTES and not site.requests


def test_a_folder_that_cannot_be_made_is_named(site, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="choose another folder") as raised:
        quiet(remote(f"{site.address}/data.bin"), tmp_path / "taken")
    assert raised.value.filename == str(tmp_path / "taken")


def test_the_cache_is_the_platforms_or_the_users(site, tmp_path, monkeypatch):
    assert "gavs" in cache_folder().parts
    monkeypatch.setenv("GAVS_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    assert quiet(remote(f"{site.address}/data.bin")) == tmp_path / "cache" / "data.bin"


@pytest.mark.parametrize("name", ["", "..", "a/b", "../b", "a\\b", "C:b"])
def test_a_name_that_is_a_path_is_refused(name):
    with pytest.raises(ValueError, match="expected a plain file name"):
        Remote(name, ())


def test_what_happens_is_said_unless_quiet(site, tmp_path, capsys):
    file = remote(f"{site.address}/nowhere", f"{site.address}/data.bin", licence="free as air")
    site.plan = ["404", "break"]
    fetch(file, tmp_path / "a")
    said = capsys.readouterr()
    assert said.out == "" and "Fetching data.bin (400,000 bytes, SHA-256" in said.err and "free as air" in said.err
    assert "nowhere: HTTP 404" in said.err and "trying again" in said.err and "100%" in said.err
    quiet(file, tmp_path / "b")
    assert capsys.readouterr() == ("", "")
