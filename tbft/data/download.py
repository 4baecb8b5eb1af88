"""Download files, check their md5 sums and unpack archives; a file gets its name only when it is complete."""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import shutil
import ssl
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbft.errors import BadInput

log = logging.getLogger(__name__)

_CHUNK = 2**18
_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 4
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def fetch_archive(
    url: str, md5: str, folder: Path, wanted: Callable[[str], bool], complete: Callable[[], bool]
) -> None:
    """Download an archive, unpack it into a folder and remove it; do nothing if the folder is complete.

    One process at a time works on a folder, so that the runs of a study download an archive once.

    Args:
        url: address of the archive.
        md5: md5 sum of the archive, hexadecimal.
        folder: folder of the unpacked files; the archive is stored beside it until it is unpacked.
        wanted: whether to unpack a file, by its base name.
        complete: whether all files are there.

    Raises:
        BadInput: if the archive cannot be reached, stored or unpacked, has another md5 sum, or lacks files.
    """
    archive = folder.with_name(Path(urllib.parse.urlsplit(url).path).name)  # as a browser would name it
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if complete():
                return
            download(url, archive, md5)
            unpack(archive, folder, wanted)
            if not complete():
                raise BadInput(f"{archive} does not hold every file of {folder.name}: give another data.url")
            archive.unlink()


def download(url: str, path: Path, md5: str) -> None:
    """Download a file and check its md5 sum; if ``path`` is there already, only check it.

    Until the file is complete and checked its bytes are in ``path`` + ``.part``; after a broken connection the
    download continues from there, also in the next call. A bar shows the progress.

    Args:
        url: address of the file.
        path: file to write.
        md5: md5 sum that it must have, hexadecimal.

    Raises:
        BadInput: if the file cannot be reached or stored, or has another md5 sum.
    """
    if path.is_file():
        _check(path, md5)
        return
    part = path.with_name(path.name + ".part")
    with _storing(path):
        _fetch_all(url, part)
        found = md5_of(part)
        if found != md5:
            part.unlink()
            raise BadInput(
                f"{url} has md5 {found} and not {md5}: it is not that file or was changed on its way; try again, or "
                "give another data.url"
            )
        part.replace(path)


def check_md5(path: Path, md5: str) -> None:
    """Check a file's md5 sum, unless an earlier check succeeded.

    A success is written to ``path`` + ``.md5``, which ``md5sum -c`` can read. The file is checked again if its size or
    modification time has changed since.

    Raises:
        BadInput: if the file has another md5 sum.
    """
    stat = path.stat()
    note = path.with_name(path.name + ".md5")
    line = f"# checked at {stat.st_size} bytes, changed {stat.st_mtime_ns}\n{md5}  {path.name}\n"
    try:
        if note.read_text() == line:
            return
    except (OSError, UnicodeDecodeError):
        pass
    _check(path, md5, ", or give --data.check_md5 false if you made it yourself")
    try:
        note.write_text(line)
    except OSError as error:
        log.info("%s cannot be written (%s): the sum is checked again next time", note, error.strerror)


def md5_of(path: Path) -> str:
    """Return a file's md5 sum, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack the wanted plain files of a tar archive into one folder, each atomically.

    Files that are already there are not changed.

    Args:
        archive: tar archive, compressed or not.
        folder: folder of the unpacked files.
        wanted: whether to unpack a file, by its base name.

    Raises:
        BadInput: if the archive is broken or the files cannot be stored.
    """
    with _storing(folder):
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    path = folder / Path(member.name).name
                    source = tar.extractfile(member) if member.isfile() and wanted(path.name) else None
                    if source is None or path.exists():
                        continue
                    part = path.with_name(path.name + ".part")
                    with source, part.open("wb") as target:
                        shutil.copyfileobj(source, target, _CHUNK)
                    part.replace(path)
        except (tarfile.TarError, EOFError) as error:
            raise BadInput(f"{archive} cannot be unpacked ({error}): remove it and download it again") from None


def _check(path: Path, md5: str, otherwise: str = "") -> None:
    found = md5_of(path)
    if found != md5:
        raise BadInput(
            f"{path} has md5 {found} and not {md5}: it is incomplete or changed; remove it and download it again "
            f"(--data.download true){otherwise}"
        )


def _fetch_all(url: str, part: Path) -> None:
    """Download until the file is complete, continuing after broken connections.

    Raises:
        BadInput: if the server refuses, or the last attempt fails.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if _fetch(url, part):
                return
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # range not satisfiable: the part that has arrived is no beginning of the file
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code != 429:
                raise BadInput(f"{url} cannot be downloaded ({error}): check the address") from None
            reason = str(error)
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        if attempt < _ATTEMPTS:
            time.sleep(0.5 * 2**attempt)
    have = part.stat().st_size if part.is_file() else 0
    raise BadInput(
        f"{url} cannot be downloaded ({reason}; {have / 2**20:.1f} MiB have arrived): check the connection and run "
        "the same command again, which goes on from there"
    )


def _fetch(url: str, part: Path) -> bool:
    """Download the missing bytes of a file and return whether it is complete now."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "tbft"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        goes_on = response.status == 206
        have = have if goes_on else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - have > free:
            raise OSError(errno.ENOSPC, f"{(total - have) / 2**20:.0f} MiB are needed, {free / 2**20:.0f} free")
        with part.open("ab" if goes_on else "wb") as file, _bar(part.name[: -len(".part")], have, total) as advance:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                advance(len(chunk))
    return total is None or part.stat().st_size == total


@contextmanager
def _bar(title: str, start: int, total: int | None) -> Iterator[Callable[[int], Any]]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(TextColumn(title), BarColumn(), DownloadColumn(), TimeRemainingColumn(), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=start)
        yield lambda size: bar.advance(task, size)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` within this context into a ``BadInput`` that says why a file cannot be stored."""
    try:
        yield
    except OSError as error:
        remedy = "free space there" if error.errno in _FULL else "check its permissions"
        raise BadInput(
            f"{path} cannot be stored ({error.strerror or error}): {remedy} and run the same command again, "
            "or choose another data.root"
        ) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, after waiting until no other process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock
        yield
        return
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
