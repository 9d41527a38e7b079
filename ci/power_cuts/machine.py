"""A machine, seen from outside: its console, and the switch of its power."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess

from .fetched import fetch, libraries, module

DISK_BYTES = 2 << 30
GUEST = pathlib.Path(__file__).resolve().parent / "guest.py"


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
        self.last = ""

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
        self.last = line.decode(errors="replace").strip()
        return self.last

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


# In the order in which one needs the other.
MODULES = [
    *["virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"],
    *["netfs", "9pnet", "9pnet_virtio", "9p", "crc16", "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4", "xfs"],
]
INIT = """#!/busybox sh
/busybox mkdir -p /proc /root
/busybox mount -t proc proc /proc
for module in {modules}; do /busybox insmod /$module.ko; done
/busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /root
/busybox umount /proc
exec /busybox switch_root /root {guest}
"""


def initramfs(found, folder):
    """What finds this machine's root from inside the other one."""
    root = folder / "initramfs"
    root.mkdir()
    for name in MODULES:
        (root / f"{name}.ko").write_bytes(module(found, name).read_bytes())
    (root / "busybox").write_bytes((found / "bin/busybox").read_bytes())
    (root / "init").write_text(INIT.format(modules=" ".join(MODULES), guest=GUEST))
    for name in ["init", "busybox"]:
        (root / name).chmod(0o755)
    (root / "dev").mkdir()
    names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
    archive = subprocess.run(
        [root / "busybox", "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), check=True, capture_output=True
    )
    (folder / "initrd").write_bytes(archive.stdout)


class Qemu(Machine):
    """QEMU without acceleration: its root is this machine's, over 9p."""

    disk = "/dev/vda"

    def __init__(self, folder):
        found = fetch("qemu")
        if not (folder / "initrd").exists():
            initramfs(found, folder)
        (kernel,) = found.glob("boot/vmlinuz-*")
        share = "local,id={0},path={1},security_model=none,readonly={2}"
        command = [
            str(found / "usr/bin/qemu-system-x86_64"),
            *["-accel", "tcg", "-m", "768", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
            *["-L", str(found / "usr/share/qemu"), "-L", str(found / "usr/share/seabios")],
            *["-kernel", str(kernel), "-initrd", str(folder / "initrd")],
            *["-append", f"console=ttyS0 quiet panic=-1 REMEX_JOB={folder}"],
            *["-serial", "stdio", "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"],
            *["-drive", f"file={folder / 'disk'},format=raw,if=virtio,cache=writeback"],
            *["-fsdev", share.format("host", "/", "on"), "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"],
            *["-fsdev", share.format("job", folder, "off"), "-device", "virtio-9p-pci,fsdev=job,mount_tag=job"],
        ]
        super().__init__(command, libraries(found))
        self.folder = folder

    def command(self, *names):
        """Has its emulator do something, such as `stop` and `cont`."""
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self.folder / "qmp"))
            answers = link.makefile()
            answers.readline()
            for name in ["qmp_capabilities", *names]:
                link.sendall(json.dumps({"execute": name}).encode())
                while "return" not in (answer := json.loads(answers.readline())):
                    if "error" in answer:
                        raise OSError(answer["error"]["desc"])


MACHINES = {"uml": Uml, "qemu": Qemu}
