"""What machines are made of: Debian's packages, fetched once and installed nowhere."""

import os
import pathlib
import re
import shutil
import subprocess


def dependencies(package):
    """The package and what would be installed with it."""
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", package]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    new = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
    # One that is installed already is to be in the folder, too.
    return sorted({package, *new})


def libraries(folder):
    """Has the folder's programs find the folder's libraries."""
    folders = [folder / "usr/lib/x86_64-linux-gnu", folder / "lib/x86_64-linux-gnu"]
    return {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


def kernel():
    """The package that has the newest kernel in it."""
    command = ["apt-cache", "depends", "linux-image-amd64"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (name,) = (word for word in said.split() if word.startswith("linux-image-6") or word.startswith("linux-image-7"))
    return name


def fetch(machine):
    """The folder with all that `machine` needs."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / f"remex-ci/power-cuts-{machine}-1"
    if (folder / ".done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    packages = dependencies("xfsprogs")
    if machine == "uml":
        packages.append("user-mode-linux")
    else:
        packages += ["busybox-static", kernel(), *dependencies("qemu-system-x86")]
    subprocess.run(["apt-get", "download", "-qq", *packages], check=True, cwd=folder)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)
        package.unlink()
    (folder / ".done").touch()
    return folder


def module(folder, name):
    """A module of the machine's kernel."""
    (found,) = folder.glob(f"**/modules/*/kernel/**/{name}.ko")
    return found


def in_order(folder, names):
    """Those modules, and before each what it says that it needs."""
    order = []

    def add(name):
        if name in order:
            return
        said = re.search(rb"\0depends=([^\0]*)\0", module(folder, name).read_bytes())
        for needed in filter(None, said[1].decode().split(",")):
            add(needed)
        order.append(name)

    for name in names:
        add(name)
    return order


def programs(given):
    """The folder of remexd and remex: the one that was given, or of those that are built now."""
    if given:
        return given.resolve()
    source = pathlib.Path(__file__).resolve().parent.parent.parent
    command = ["cargo", "build", "--locked", "-p", "remex-server", "-p", "remex-client", "--bins"]
    subprocess.run(command, check=True, cwd=source)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", source / "target")).resolve() / "debug"
