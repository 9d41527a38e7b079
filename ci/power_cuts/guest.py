#!/usr/bin/python3
"""The first process of the machine whose power is cut: looks at what is left of earlier lives, then asks for more, until it is
gone."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from power_cuts.commands import brief, shell  # noqa: E402
from power_cuts.flushed import Log, attach  # noqa: E402

AT_ONCE = 6
SOCKET = "/run/remexd.sock"


def say(**what):
    os.write(1, json.dumps(what).encode() + b"\n")


def mount(kind, device, folder, *options):
    subprocess.run(["mount", "-t", kind, *options, device, folder], check=True)


def prepare(folder):
    for kind, at in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")]:
        # A kernel may have done some of it by itself.
        if not os.path.ismount(at):
            mount(kind, kind, at)
    # Without it trees are kept together by sweeping.
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=False)
    os.mkdir("/run/job")
    if "hostfs" in pathlib.Path("/proc/filesystems").read_text():
        mount("hostfs", "job", "/run/job", "-o", folder)
    else:
        mount("9p", "job", "/run/job", "-o", "trans=virtio,version=9p2000.L")


def serve(job):
    log = open("/run/log", "wb")
    command = [
        f"{job['programs']}/remexd",
        *["--state-dir", "/mnt/var/lib/remex", "--listen", f"unix:{SOCKET}", "--no-legacy"],
        *["--sync", job["sync"], "--ready-file", "/run/ready"],
    ]
    remexd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while not os.path.exists("/run/ready"):
        if remexd.poll() is not None:
            say(failed=f"remexd does not start: {pathlib.Path('/run/log').read_text()[-2000:]}")
            time.sleep(3600)
        time.sleep(0.01)


def run(job, number, log):
    """Asks for the command of a number, or for what has become of it, and passes on what is told."""
    command = [
        f"{job['programs']}/remex",
        *["--server", f"unix:{SOCKET}", "run", "-n", "--json", "--on-disconnect", "detach"],
        *["--request-id", f"request-{number}", "--shell", shell(number)],
    ]
    remex = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in remex.stdout:
        say(of=number, event=brief(json.loads(line)), at=len(log or ""))
    stderr = remex.stderr.read()
    if stderr:
        stderr += pathlib.Path("/run/log").read_text(errors="replace")[-2000:]
    return stderr


def each(work, numbers):
    """Has each number worked on, some at once."""
    turn = threading.Lock()

    def take():
        while True:
            with turn:
                number = next(numbers, None)
            if number is None:
                return
            work(number)

    threads = [threading.Thread(target=take) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    os.environ["TMPDIR"] = "/run"
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    prepare(os.environ["REMEX_JOB"])
    job = json.loads(pathlib.Path("/run/job/job").read_text())
    device = job["device"]
    log = Log("/run/job/log") if job["logs"] else None
    if job["forgets"]:
        device = attach("/run/job/disk", job["module"], job["seed"], log)
    mount(job["fs"], device, "/mnt")
    serve(job)

    def check(number):
        stderr = run(job, number, log)
        say(checked=number, stderr=stderr)

    def ask(number):
        say(asked=number)
        run(job, number, log)

    each(check, iter(job["known"]))
    say(says="all are checked")
    each(ask, iter(range(job["next"], job["next"] + job["asks"])))
    # The log, too, is on the host then.
    os.sync()
    say(says="all have ended")


try:
    main()
except Exception as error:
    say(failed=repr(error))
time.sleep(3600)
