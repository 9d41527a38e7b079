"""A machine, seen from outside: its console, and the switch of its power."""

import collections
import os
import pathlib
import select
import shutil
import signal
import subprocess

from .fetched import fetch, in_order, libraries, module

DISK_BYTES = 2 << 30
# Of its console, for whoever wants to know why it says no more.
LAST_LINES = 30
GUEST = pathlib.Path(__file__).resolve().parent / "guest.py"
ASLEEP = GUEST.parent / "asleep.sh"


def make_disk(path, fs, found):
    """A file with an empty file system in it."""
    with open(path, "wb") as disk:
        disk.truncate(DISK_BYTES)
    make = {
        "ext4": ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0"],
        "xfs": [str(found / "sbin/mkfs.xfs"), "-q", "-s", "size=4096"],
    }[fs]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    if fs == "xfs":
        environment |= libraries(found)
    subprocess.run([*make, str(path)], check=True, env=environment)


class Machine:
    """One life of it. Its first process is `guest.py`, its console its stdout."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        self.pending = b""
        self.last = collections.deque(maxlen=LAST_LINES)

    def line(self, wait):
        """What it says next; `None`: nothing for so long, or nothing any more."""
        out = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            if not select.select([out], [], [], wait)[0]:
                return None
            more = os.read(out, 1 << 16)
            if not more:
                return None
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        self.last.append(line.decode(errors="replace").strip())
        return self.last[-1]

    def is_silent(self, seconds):
        """An error for whoever waited so long for a line."""
        said = "\n".join(self.last)
        what = f"says nothing for {seconds} s" if self.process.poll() is None else "has ended by itself"
        return SystemExit(f"the machine {what}; its last words:\n{said}")

    def cut(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Uml(Machine):
    """User-mode Linux: its root is this machine's, as it is."""

    disk = "/dev/ubda"

    def __init__(self, folder):
        command = [
            str(fetch("uml") / "usr/bin/linux.uml"),
            "mem=768M",
            f"uml_dir={folder}",
            f"ubda={folder / 'disk'}",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"init={GUEST}",
            f"REMEX_JOB={folder}",
            "con=null",
            "con0=null,fd:1",
            "quiet",
        ]
        super().__init__(command, {"TMPDIR": str(folder)})


# What its kernel needs for its disk and its host's files; the file systems ask for a checksum that they do not name.
MODULES = ["virtio_pci", "virtio_blk", "9pnet_virtio", "9p", "crc32c_generic", "ext4", "xfs"]
INIT = """#!/busybox sh
/busybox mkdir -p /proc /root
/busybox mount -t proc proc /proc
for module in {modules}; do /busybox insmod /$module.ko; done
/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /root
/busybox umount /proc
exec /busybox switch_root /root {guest}
"""


def pack(found, root, to):
    """Makes an initramfs of the folder `root`, which busybox is in."""
    shutil.copy2(found / "bin/busybox", root / "busybox")
    (root / "dev").mkdir()
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    archive = subprocess.run(
        [root / "busybox", "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), check=True, capture_output=True
    )
    to.write_bytes(archive.stdout)


def shared(found, folder):
    """What finds this machine's root from inside the other one."""
    root = folder / "initramfs"
    root.mkdir()
    modules = in_order(found, MODULES)
    for name in modules:
        (root / f"{name}.ko").write_bytes(module(found, name).read_bytes())
    (root / "init").write_text(INIT.format(modules=" ".join(modules), guest=GUEST))
    (root / "init").chmod(0o755)
    pack(found, root, folder / "initrd")


def needed(program):
    """The files that a program is loaded with."""
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return {word for line in said.splitlines() for word in line.split() if word.startswith("/")}


def alone(found, folder, programs, job):
    """What needs nothing outside: the programs, and a job as a shell reads it."""
    root = folder / "initramfs"
    root.mkdir()
    shutil.copy2(ASLEEP, root / "init")
    (root / "job").write_text("".join(f"{name}={value}\n" for name, value in job.items()))
    for name in ["remexd", "remex"]:
        subprocess.run(["strip", "-o", root / name, programs / name], check=True)
    for library in set.union(*(needed(programs / name) for name in ["remexd", "remex"])):
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, place)
        place.chmod(0o755)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    pack(found, root, folder / "initrd")


def emulator(found, initrd, words, *options):
    """How QEMU is called, without acceleration, with words for its kernel."""
    (kernel,) = found.glob("boot/vmlinuz-*")
    return [
        str(found / "usr/bin/qemu-system-x86_64"),
        *["-accel", "tcg", "-m", "768", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
        *["-L", str(found / "usr/share/qemu"), "-L", str(found / "usr/share/seabios")],
        # On a busy host a kernel finds its timer too slow to be one, and gives up.
        *["-kernel", str(kernel), "-append", f"console=ttyS0 quiet panic=-1 no_timer_check {words}"],
        *["-initrd", str(initrd), "-serial", "stdio", *options],
    ]


class Qemu(Machine):
    """QEMU: its root is this machine's, over 9p."""

    disk = "/dev/vda"

    def __init__(self, folder):
        found = fetch("qemu")
        if not (folder / "initrd").exists():
            shared(found, folder)
        share = "local,id={0},path={1},security_model=none,readonly={2}"
        command = emulator(
            found,
            folder / "initrd",
            f"REMEX_JOB={folder}",
            *["-drive", f"file={folder / 'disk'},format=raw,if=virtio,cache=writeback"],
            *["-fsdev", share.format("host", "/", "on"), "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"],
            *["-fsdev", share.format("job", folder, "off"), "-device", "virtio-9p-pci,fsdev=job,mount_tag=job"],
        )
        super().__init__(command, libraries(found))


class Sleeper(Machine):
    """QEMU: all that it has is in its memory."""

    def __init__(self, folder, programs, **job):
        found = fetch("qemu")
        alone(found, folder, programs, job)
        super().__init__(emulator(found, folder / "initrd", "no_console_suspend"), libraries(found))


MACHINES = {"uml": Uml, "qemu": Qemu}
