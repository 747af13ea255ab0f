"""One file from the net, whole and the one that was meant: weights, archives of data sets.

A `Remote` says where a file lies, how long it is, its checksum and its licence; `fetch` brings it into a folder, once.
What arrives is compared with size and checksum before it gets its name, so a file that has its name is the right one.
A download that breaks off goes on where it stopped, even on another day, unless the file was changed at its source
meanwhile (HTTP's Range and If-Range). With a checksum it goes on at another address as well: bytes that do not fit
together are found out by it, and fetched once more from the start.

Environment variables:

    GAVS_CACHE      the folder of fetched files, instead of the platform's cache folder
    GAVS_MIRROR     an address under which files lie by their names; asked before the publisher's own
    GAVS_OFFLINE    1: the net is never used; what is missing is named, with where to get it and where to put it

Beside a file NAME stand NAME.part and .NAME.source (what has arrived, and of which version at which address),
.NAME.lock (one process at a time fetches it) and .NAME.verified (the file has not changed since its checksum was right:
hashing gigabytes at every use would take longer than reading them).
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import filelock
import platformdirs
import requests
from tqdm.auto import tqdm

_TIMEOUTS = (10.0, 30.0)  # seconds: until a server answers, and without a byte from it
_ATTEMPTS = 5  # that get no further, before an address is given up
_PAUSE = 1.0  # seconds after the first of them; doubled each time
_BLOCK = 1 << 14  # bytes; an interruption loses less than this


@dataclass(frozen=True)
class Remote:
    """A published file.

    Attributes:
        name: plain file name, under which it is kept.
        urls: addresses, the best one first.
        size: bytes, where known.
        sha256: hexadecimal, or the beginning of it where the publisher names no more.
        licence: what its publisher allows, in a few words.

    Raises:
        ValueError: `name` is a path.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    licence: str = ""

    def __post_init__(self) -> None:
        if self.name in ("", "..") or PureWindowsPath(self.name).name != self.name:  # knows both kinds of slashes
            raise ValueError(f"the name of a remote file is {self.name!r}; expected a plain file name.")

    def __str__(self) -> str:
        size = "of unknown size" if self.size is None else f"{self.size:,} bytes"
        begins = " begins with" if self.sha256 and len(self.sha256) < 64 else ""
        checksum = f"SHA-256{begins} {self.sha256}" if self.sha256 else "no checksum published"
        return f"{self.name} ({size}, {checksum})"


def cache_folder() -> Path:
    """Where fetched files are kept: GAVS_CACHE, or "gavs" in the platform's cache folder (~/.cache on Linux)."""
    own = os.environ.get("GAVS_CACHE")
    return Path(own).expanduser() if own else platformdirs.user_cache_path("gavs", appauthor=False)


def fetch(
    remote: Remote,
    folder: str | os.PathLike | None = None,
    *,
    mirrors: Sequence[str] = (),
    offline: bool | None = None,
    progress: bool = True,
) -> Path:
    """The path of a verified file; it is downloaded where it is not there yet.

    Addresses are tried in turn: `mirrors`, GAVS_MIRROR, the publisher's own. A mirror comes first because it is named
    where the publisher is slow or out of reach; what it gives must have the same size and checksum.

    Args:
        remote: which file.
        folder: where it is, or will be; None: `cache_folder()`.
        mirrors: addresses under which the file lies by its name.
        offline: True: the net is not used; None: as GAVS_OFFLINE says.
        progress: say on the error stream what is fetched, show a bar, and tell of interruptions.

    Raises:
        FileNotFoundError: offline, and the file is not there; says where to get it and where to put it.
        ValueError: a file of that name is there, but another one, or damaged.
        ConnectionError: no address gave the file; each is named with its reason. What has arrived is kept.
        OSError: the folder cannot be written, or the disk is full. What has arrived is kept.
    """
    path = (cache_folder() if folder is None else Path(folder)) / remote.name
    if offline is None:
        offline = os.environ.get("GAVS_OFFLINE", "") not in ("", "0")
    if not path.exists():
        if offline:
            raise FileNotFoundError(f"{path}: no such file, and the net is not to be used. {_by_hand(remote, path)}")
        bases = [*mirrors, os.environ.get("GAVS_MIRROR", "")]
        urls = [f"{base.rstrip('/')}/{remote.name}" for base in bases if base] + list(remote.urls)
        with _alone(path, progress):
            if not path.exists():  # else another process has fetched it meanwhile
                _download(remote, path, urls, progress)
    note = _beside(path, "verified")
    if not note.is_file() or note.read_text() != _state(path, remote):
        verify(path, remote)
        _remember(path, remote)
    return path


def verify(path: str | os.PathLike, remote: Remote) -> Path:
    """The path itself, if the file there has the published size and checksum; wherever it lies.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another file, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {remote}.")
    if wrong := _difference(path, remote):
        raise ValueError(
            f"{path}: {wrong}; expected {remote}. It is another file, or was cut short or damaged: delete it and fetch "
            "it again."
        )
    return path


class _Interrupted(Exception):
    """The same address may do better in a moment."""


class _Refused(Exception):
    """This address does not give the file; another one may."""


_PASSING = (_Interrupted, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def _download(remote: Remote, path: Path, urls: list[str], progress: bool) -> None:
    part = path.with_name(f"{path.name}.part")
    licence = f", licence: {remote.licence}" if remote.licence else ""
    _say(f"Fetching {remote} into {path.parent}{licence}", progress)
    refusals = []
    for url in urls:
        try:
            _bring(remote, url, part, progress)
        except _Refused as refusal:
            refusals.append(f"{url}: {refusal}.")
            _say(refusals[-1], progress)
        else:
            os.replace(part, path)
            _beside(path, "source").unlink()
            _remember(path, remote)
            return
    raise ConnectionError(f"{remote.name} could not be fetched. {' '.join(refusals)} {_by_hand(remote, path)}")


def _bring(remote: Remote, url: str, part: Path, progress: bool) -> None:
    """Download the whole, right file into `part`, in as many attempts as it takes while they bring it forward."""
    furthest = failures = 0
    from_the_start = False
    while True:
        try:
            continued = _receive(remote, url, part, progress)
        except _PASSING as error:
            size = part.stat().st_size if part.exists() else 0
            failures = 1 if size > furthest else failures + 1
            furthest = max(furthest, size)
            if failures == _ATTEMPTS:
                raise _Refused(f"given up after {_ATTEMPTS} attempts, with {size:,} bytes ({_brief(error)})") from error
            pause = _PAUSE * 2 ** (failures - 1)
            _say(f"{remote.name}: {_brief(error)}; trying again in {pause:.0f} s", progress)
            time.sleep(pause)
        except requests.RequestException as error:
            raise _Refused(_brief(error)) from error
        else:
            wrong = _difference(part, remote)
            if not wrong:
                return
            part.unlink()
            # What was continued may have been damaged before, by a power cut say: that is not the server's fault.
            if from_the_start or not continued:
                raise _Refused(f"gives another file: it {wrong}, and was deleted")
            from_the_start = True


def _receive(remote: Remote, url: str, part: Path, progress: bool) -> bool:
    """One attempt to complete `part`; whether it began with bytes of an earlier attempt."""
    source = part.with_name(f".{remote.name}.source")
    have, version = 0, ""
    if part.is_file() and source.is_file():
        known, _, version = source.read_text().partition("\n")
        version = version if known == url else ""
        have = part.stat().st_size if version or remote.sha256 else 0
    if have and have == remote.size:
        return True  # stopped after the last byte
    headers = {"Accept-Encoding": "identity"}  # the file's own bytes
    if have:
        headers["Range"] = f"bytes={have}-"
    if have and version:
        headers["If-Range"] = version
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS) as response:
        code, status = response.status_code, f"HTTP {response.status_code} {response.reason}"
        place = re.fullmatch(rf"bytes {have}-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if code == 200:  # to a Range as well, of a server that knows none or has another version by now
            have, total = 0, int(response.headers.get("Content-Length", 0)) or None
        elif code == 206 and place:
            total = int(place[1])
        elif code in (206, 416):
            part.unlink(missing_ok=True)
            raise _Interrupted(f"does not go on at byte {have:,} ({status})")
        elif code == 429 or code >= 500:
            raise _Interrupted(status)
        else:
            raise _Refused(status)
        if remote.size is not None and total not in (None, remote.size):
            raise _Refused(f"offers another file, of {total:,} bytes instead of {remote.size:,}")
        total = total or remote.size
        continued = have > 0
        try:
            if not continued:
                part.write_bytes(b"")
                source.write_text(f"{url}\n{_version(response)}")
            if total is not None and shutil.disk_usage(part.parent).free < total - have:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            have = _append(response, part, total, progress)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise  # requests' own errors are OSErrors, too
            missing = f"{total - part.stat().st_size:,} bytes" if total else "the rest of the file"
            raise OSError(
                errno.ENOSPC,
                f"no room for {missing}; free some space and fetch again (what has arrived is kept), or choose another "
                "folder",
                str(part),
            ) from error
    if total is not None and have < total:
        raise _Interrupted(f"broke off after {have:,} of {total:,} bytes")
    return continued


def _append(response: requests.Response, part: Path, total: int | None, progress: bool) -> int:
    """Write what a response brings behind what `part` has; its size then."""
    with (
        part.open("ab") as file,
        tqdm(initial=file.tell(), total=total, desc=part.stem, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        for block in response.iter_content(_BLOCK):
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _version(response: requests.Response) -> str:
    """What tells this version of the file from another; "" where the server says nothing."""
    etag = response.headers.get("ETag", "")
    weak = etag.startswith("W/")  # does not promise equal bytes
    return etag if etag and not weak else response.headers.get("Last-Modified", "")


def _difference(path: Path, remote: Remote) -> str:
    """How a file differs from what was published; "" where it does not."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"has {size:,} bytes"
    if not remote.sha256:
        return ""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if digest.startswith(remote.sha256.lower()) else f"has SHA-256 {digest}"


def _by_hand(remote: Remote, path: Path) -> str:
    check = f" To check it: `sha256sum {path}` prints a line that begins with {remote.sha256}." if remote.sha256 else ""
    return (
        f"To get it by hand: download {' or '.join(remote.urls)} on any machine and put it at {path}, or let the "
        f"environment variable GAVS_CACHE name the folder where you have it. It is {remote}.{check}"
    )


@contextlib.contextmanager
def _alone(path: Path, progress: bool) -> Iterator[None]:
    """Hold the lock of a file; the system lets go of it when a process ends, however it ends."""
    lock = filelock.FileLock(_beside(path, "lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        _say(f"{path.name}: another process is fetching it; waiting for it.", progress)
        lock.acquire()
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot be written ({error.strerror}); choose another folder (environment variable GAVS_CACHE)",
            str(path.parent),
        ) from error
    try:
        yield
    finally:
        lock.release()


def _state(path: Path, remote: Remote) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {remote.sha256}"


def _remember(path: Path, remote: Remote) -> None:
    with contextlib.suppress(OSError):  # in a shared folder that is read-only: then it is hashed at every use
        _beside(path, "verified").write_text(_state(path, remote))


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}")


def _brief(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    cause = error.args[0] if error.args else type(error).__name__
    cause = getattr(cause, "reason", cause)  # of urllib3's count of attempts: the address in it may fill half a page
    return textwrap.shorten(str(cause), 200, placeholder=" …")


def _say(text: str, progress: bool) -> None:
    if progress:
        tqdm.write(text, file=sys.stderr)
