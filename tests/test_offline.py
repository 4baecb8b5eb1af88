"""The default run, as a process: it opens no network connection, and its record tells what the process has used up."""

import json
import os
import resource
import subprocess
import sys
import time

import psutil

WATCHED = """
import sys

def hook(event, args):
    if event == "socket.getaddrinfo" and args[0] not in ("localhost", "127.0.0.1", "::1", None):
        print("LOOKED UP", args[0], file=sys.stderr)
    if event == "socket.connect" and isinstance(args[1], tuple) and not str(args[1][0]).startswith(("127.", "::1")):
        print("CONNECTED", args[1], file=sys.stderr)

sys.addaudithook(hook)
from tbft.__main__ import main
sys.argv[1:] = ["fit", "--config", "output.yaml", "--trainer.enable_progress_bar", "false"]
main()
"""


def connections(process: psutil.Process) -> set[str]:
    """Remote addresses outside this machine of a process and its descendants."""
    found = set()
    for each in [process, *process.children(recursive=True)]:
        try:
            remote = [c.raddr.ip for c in each.net_connections(kind="inet") if c.raddr]
        except psutil.Error:
            continue
        found |= {ip for ip in remote if not ip.startswith(("127.", "::1"))}
    return found


def used_by_ended_children() -> float:
    """CPU-seconds of this process's children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_the_default_run_opens_no_connection_and_records_what_its_process_used(tmp_path):
    before = used_by_ended_children()
    unset = ("WANDB_API_KEY", "WANDB_MODE")
    environment = {key: value for key, value in os.environ.items() if key not in unset} | {
        "NETRC": str(tmp_path / "no")
    }
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    seen: set[str] = set()
    while process.poll() is None:
        seen |= connections(psutil.Process(process.pid)) if psutil.pid_exists(process.pid) else set()
        time.sleep(0.1)
    errors = process.stderr.read()
    assert process.returncode == 0, errors
    assert "CONNECTED" not in errors and "LOOKED UP" not in errors and not seen
    assert list(tmp_path.glob("runs/*/wandb/offline-run-*"))  # Weights & Biases was on
    (result,) = tmp_path.glob("runs/*/result.json")
    record = json.loads(result.read_text())
    truth = used_by_ended_children() - before
    assert record["process"]["since"] == "process start"
    # Imports, drawing, tracking and its service are in; the closing table and the interpreter's exit are not.
    assert 0.88 * truth <= record["process_cpu_seconds"] <= truth
