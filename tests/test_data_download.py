"""A download is whole and right, or not there."""

import functools
import hashlib
import io
import resource
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import tbft.data.download as module
from tbft.data.download import check_md5, download, fetch_archive
from tbft.errors import BadInput

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves ``content``, breaks off after ``breaks[i]`` bytes of answer i, and knows ranges if told so."""

    def __init__(self, state, *args):
        self.state = state
        super().__init__(*args)

    def do_GET(self):
        start = 0
        self.state["asked"].append(self.headers.get("Range"))
        if self.state["ranges"] and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = self.state["content"][start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        breaks = self.state["breaks"]
        self.wfile.write(body[: breaks.pop(0)] if breaks else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    state = {"content": CONTENT, "breaks": [], "ranges": True, "asked": []}
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, state)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        http.handle_error = lambda *args: None  # a client that goes away
        state["url"] = f"http://127.0.0.1:{http.server_port}/file"
        yield state
        http.shutdown()


def test_a_file_arrives_whole(server, tmp_path):
    download(server["url"], tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    download(server["url"], tmp_path / "f", MD5)
    assert len(server["asked"]) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_taken_up_again(server, tmp_path, ranges):
    server.update(breaks=[1_000_000, 700_000], ranges=ranges)
    download(server["url"], tmp_path / "f", MD5)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(server["asked"]) == 3
    if ranges:
        assert server["asked"][1:] == ["bytes=1000000-", "bytes=1700000-"]


def test_a_download_that_gives_up_is_never_taken_for_whole(server, tmp_path):
    server["breaks"] = [500_000, 1, 1, 1]
    with pytest.raises(BadInput, match="same command again"):
        download(server["url"], tmp_path / "f", MD5)
    assert not (tmp_path / "f").exists()
    download(server["url"], tmp_path / "f", MD5)
    assert server["asked"][-1] == "bytes=500003-"
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_killed_download_is_taken_up_again(server, tmp_path):
    (tmp_path / "f.part").write_bytes(CONTENT[:123_456])
    download(server["url"], tmp_path / "f", MD5)
    assert server["asked"] == ["bytes=123456-"] and (tmp_path / "f").read_bytes() == CONTENT


def test_other_content_is_refused_and_not_kept(server, tmp_path):
    server["content"] = CONTENT[:-1] + b"!"
    with pytest.raises(BadInput, match=f"and not {MD5}"):
        download(server["url"], tmp_path / "f", MD5)
    assert not list(tmp_path.iterdir())


def test_a_file_that_somebody_left_half_is_not_taken_for_whole(server, tmp_path):
    (tmp_path / "f").write_bytes(CONTENT[:1000])
    with pytest.raises(BadInput, match="incomplete or changed; remove it"):
        download(server["url"], tmp_path / "f", MD5)


def test_an_address_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    with pytest.raises(BadInput, match=r"http://127.0.0.1:9/file cannot be downloaded"):
        download("http://127.0.0.1:9/file", tmp_path / "f", MD5)


def test_a_full_disk_is_said_in_one_line(server, tmp_path):
    """The limit on a file's size stands in for a disk's: the system refuses the write half-way likewise."""
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom tbft.data.download import download\n"
        "from tbft.errors import BadInput\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, {resource.RLIM_INFINITY}))\n"
        "try:\n    download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])\n"
        "except BadInput as error:\n    print(error); sys.exit(2)\n"
    )
    target = tmp_path / "f"
    command = [sys.executable, "-c", script, server["url"], str(target), MD5]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    last = ended.stdout.strip().splitlines()[-1]
    assert str(target) in last and "free space" in last
    assert not target.exists()
    download(server["url"], target, MD5)
    assert target.read_bytes() == CONTENT


def test_too_little_space_is_found_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(BadInput, match="free space"):
        download(server["url"], tmp_path / "f", MD5)
    assert not list(tmp_path.iterdir())


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_an_archive_is_unpacked_once_and_stays_in_its_folder(server, tmp_path):
    server["content"] = archive({"data/a.bin": b"a" * 1000, "../../b.bin": b"b", "data/readme": b"no"})
    md5, folder = hashlib.md5(server["content"]).hexdigest(), tmp_path / "set"
    names = ["a.bin", "b.bin"]
    for _ in range(2):
        fetch_archive(
            server["url"], md5, folder, names.__contains__, lambda: all((folder / name).is_file() for name in names)
        )
    assert len(server["asked"]) == 1
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "a.bin", "b.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_md5_sum_is_checked_once_and_again_after_a_change(tmp_path, monkeypatch):
    file = tmp_path / "f.npy"
    file.write_bytes(CONTENT)
    check_md5(file, MD5)
    checked = subprocess.run(["md5sum", "-c", "f.npy.md5"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.stdout.strip() == "f.npy: OK"
    with monkeypatch.context() as patch:
        patch.setattr(module, "md5_of", lambda path: pytest.fail("checked again"))
        check_md5(file, MD5)
    file.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(BadInput, match=r"f\.npy has md5"):
        check_md5(file, MD5)
