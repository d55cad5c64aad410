"""Builds the image of a lab host, once for each recipe, and keeps it in the cache.

    cache/roots/<root key>/      a bare Debian root, as mmdebstrap made it
    cache/wheels/<wheels key>/   the guest's Python packages, compiled to bytecode
    cache/images/<image key>/    root.ext4, vmlinux, initrd, manifest.json

Each stage is made beside its place and renamed into it, so a stage that is there is whole,
and one that was interrupted is done again. Nothing is mounted and no loop device is used:
`mke2fs -d` writes the file system from a directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from shared.errors import MachineError
from shared.microvm.guestroot import compile_tree, run_in_root
from shared.microvm.mirror import apt_options, debian_mirror
from shared.microvm.places import cache_dir
from shared.microvm.recipe import HOST_TREE, WHEEL_LOCK, Recipe, host_files
from shared.microvm.tools import require, require_root, run_tool

Progress = Callable[[str, float, str], None]

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MOUNTS = Path("/proc/self/mountinfo")
KEPT_IMAGES = 2
# A root, a copy of it on the way to ext4, the ext4 file, and wheels; measured 1.9 GB.
NEEDED_BYTES = 3 * 2**30
# What `pip` must take for the guest's Python, whatever runs here.
GUEST_PYTHON = "3.13"
_PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is: `manifest.json` beside it."""

    key: str
    root_key: str
    wheels_key: str
    suite: str
    kernel_release: str
    built_at: float
    packages: dict[str, str]


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image in the cache."""

    directory: Path
    manifest: Manifest

    @property
    def root(self) -> Path:
        """The root file system, ext4; never written to, guests use an overlay."""
        packed = self.directory / "root.qcow2"
        return packed if packed.exists() else self.directory / "root.ext4"

    @property
    def root_format(self) -> str:
        """What QEMU calls it: raw, or qcow2 in a container's image, which knows no sparse files."""
        return "qcow2" if self.root.suffix == ".qcow2" else "raw"

    @property
    def kernel(self) -> Path:
        """The kernel, unpacked: QEMU starts it at its PVH entry."""
        return self.directory / "vmlinux"

    @property
    def initrd(self) -> Path:
        """The initrd that finds the root."""
        return self.directory / "initrd"

    @property
    def debian_root(self) -> Path:
        """The directory the image was made from; its Python compiles code for guests."""
        return self.directory.parents[1] / "roots" / self.manifest.root_key


def cached_image(recipe: Recipe | None = None) -> Image | None:
    """The image of this checkout's recipe, if it is built."""
    recipe = recipe or Recipe.load()
    directory = cache_dir() / "images" / recipe.image_key
    try:
        manifest = msgspec.json.decode((directory / "manifest.json").read_bytes(), type=Manifest)
    except OSError:
        return None
    image = Image(directory, manifest)
    return image if image.debian_root.is_dir() else None


async def ensure_image(progress: Progress | None = None) -> Image:
    """This checkout's image, built if it is not in the cache.

    `progress(stage, fraction, text)` is called as the work goes on; stages are `wait`,
    `root`, `wheels`, `image`. Raises MachineError if the machine cannot build it.
    """
    recipe = Recipe.load()
    image = cached_image(recipe)
    if image is None:
        image = await _Build(recipe, progress or _silent).run()
    os.utime(image.directory)
    return image


def _silent(_stage: str, _fraction: float, _text: str) -> None:
    pass


class _Build:
    """One build, under the cache's lock."""

    def __init__(self, recipe: Recipe, progress: Progress) -> None:
        self.recipe = recipe
        self.progress = progress
        self.cache = cache_dir()

    async def run(self) -> Image:
        _check_machine(self.cache)
        async with _locked(self.cache / "build.lock", self.progress):
            for leftover in self.cache.glob("*/*.partial"):
                _remove_tree(leftover)
            root = await self._stage("roots", self.recipe.root_key, self._make_root)
            await self._stage("wheels", self.recipe.wheels_key, self._make_wheels)
            await self._stage("images", self.recipe.image_key, self._make_image)
            image = cached_image(self.recipe)
            if image is None:
                raise MachineError(
                    "The image just built is not in the cache",
                    expected=str(self.cache / "images" / self.recipe.image_key),
                    got=f"a root at {root}, and no image",
                    advice="Something else removes files there; set COX_CACHE to another place.",
                )
            _collect_garbage(self.cache, image)
            return image

    async def _stage(self, kind: str, key: str, make: Callable[[Path], Awaitable[None]]) -> Path:
        place = self.cache / kind / key
        if not place.exists():
            partial = place.with_name(f"{key}.partial")
            _remove_tree(partial)
            partial.mkdir(parents=True)
            try:
                await make(partial)
            except BaseException:
                await asyncio.to_thread(_remove_tree, partial)
                raise
            partial.rename(place)
        return place

    async def _make_root(self, place: Path) -> None:
        """Debian and the kernel, from the mirror."""
        recipe = self.recipe
        mirror = debian_mirror()
        signed = f"[signed-by={KEYRING}]"
        sources = [
            f"deb {signed} {mirror} {recipe.suite} main",
            f"deb {signed} {mirror} {recipe.kernel_suite} main",
            f"deb-src {signed} {mirror} {recipe.suite} main",
        ]
        include = [*recipe.packages, f"{recipe.kernel}/{recipe.kernel_suite}"]
        aptopts = [
            'Apt::Install-Recommends "false";',
            f'APT::Default-Release "{recipe.suite}";',
            'Acquire::Languages "none";',
            'Acquire::Retries "3";',
            *apt_options(),
        ]
        unpacked = '"$1/usr/share/coxswain/sources"'
        fetch = (
            f"mkdir -p {unpacked} && cd {unpacked} && "
            "APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get source --download-only "
            f"--only-source {' '.join(recipe.sources)}"
        )
        initrd = (
            'chroot "$1" sh -c \'mktirfs --microcode=no --auto-modules=no --include-modules='
            f"{','.join(recipe.initrd_modules)}"
            " -o /boot/initrd $(ls /lib/modules)'"
        )
        # Its own mount and process namespaces: whatever ends this, no mount and no child stays.
        command = [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
            *("mmdebstrap", "--verbose", "--variant=minbase", "--mode=root", "--format=directory"),
            *(f"--aptopt={option}" for option in aptopts),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.exclude),
            f"--include={','.join(include)}",
            f"--customize-hook={fetch}",
            f"--customize-hook={initrd}",
            *(recipe.suite, str(place), "-"),
        ]
        count = _PackageCount()

        def line(text: str) -> None:
            count.see(text)
            self.progress("root", count.fraction, text)

        self.progress("root", 0.0, f"Debian {recipe.suite} from this machine's mirror")
        await run_tool(
            command,
            what="The Debian root of the lab's image cannot be built",
            advice="Check that apt works on this machine (apt-get update), then run this again.",
            stdin="\n".join(sources) + "\n",
            on_line=line,
        )
        # Nothing is installed in a guest.
        (place / "etc/apt/sources.list").unlink(missing_ok=True)
        await asyncio.to_thread(_unpack_sources, place / "usr/share/coxswain/sources")

    async def _make_wheels(self, place: Path) -> None:
        """The guest's Python packages: locked, checked by hash, for its Python, not for ours."""
        self.progress("wheels", 0.0, "Python packages")
        platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
        await run_tool(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place)),
                *platforms,
                *("--python-version", GUEST_PYTHON, "--implementation", "cp"),
                # nkeys is pure Python that nobody has made a wheel of.
                *("--only-binary=:all:", "--no-binary=nkeys"),
                *("--no-deps", "--require-hashes", "--no-compile"),
                *("--disable-pip-version-check", "--no-input", "-r", str(WHEEL_LOCK)),
            ],
            what="The guest's Python packages cannot be installed",
            advice="Check that pip can download packages on this machine, then run this again.",
        )
        shutil.rmtree(place / "bin", ignore_errors=True)
        self.progress("wheels", 0.7, "compiling to bytecode")
        root = self.cache / "roots" / self.recipe.root_key
        await compile_tree(root, place, seen_as="/opt/coxswain/lib")

    async def _make_image(self, place: Path) -> None:
        """The ext4 file, from the root, the wheels and the checkout's host files."""
        self.progress("image", 0.0, "copying the root")
        tree = place / "tree"
        root = self.cache / "roots" / self.recipe.root_key
        wheels = self.cache / "wheels" / self.recipe.wheels_key
        await run_tool(
            ["cp", "--archive", "--reflink=auto", str(root), str(tree)],
            what="The Debian root cannot be copied",
        )
        self.progress("image", 0.3, "adding services and packages")
        await asyncio.to_thread(_furnish, tree, wheels)
        (release,) = (path.name for path in (tree / "lib/modules").iterdir())
        shutil.move(tree / "boot" / "initrd", place / "initrd")
        await _unpack_kernel(root, tree / "boot" / f"vmlinuz-{release}", place / "vmlinux")
        shutil.rmtree(tree / "boot")
        (tree / "boot").mkdir()
        self.progress("image", 0.4, "writing the file system")
        await run_tool(
            [
                *("mke2fs", "-q", "-F", "-t", "ext4", "-L", "coxswain", "-m", "0"),
                # A guest's disk is thrown away: a journal would only cost.
                *("-O", "^has_journal", "-E", "lazy_itable_init=1,root_owner=0:0"),
                *("-d", str(tree), str(place / "root.ext4"), f"{self.recipe.size_mb}M"),
            ],
            what="The image's file system cannot be written",
        )
        packages = await _packages(tree)
        await asyncio.to_thread(shutil.rmtree, tree)
        manifest = Manifest(
            key=self.recipe.image_key,
            root_key=self.recipe.root_key,
            wheels_key=self.recipe.wheels_key,
            suite=self.recipe.suite,
            kernel_release=release,
            built_at=time.time(),
            packages=packages,
        )
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        (place / "manifest.json").write_bytes(text)
        self.progress("image", 1.0, "done")


class _PackageCount:
    """How far apt and dpkg are, from what they print."""

    _announced = re.compile(r"(\d+) newly installed")

    def __init__(self) -> None:
        self.steps = 0
        self.announced = 0

    def see(self, line: str) -> None:
        if match := self._announced.search(line):
            self.announced += int(match[1])
        elif line.startswith(("Unpacking ", "Setting up ", "Get:")):
            self.steps += 1

    @property
    def fraction(self) -> float:
        # Every package is fetched, unpacked and set up.
        return min(self.steps / (3 * max(self.announced, 120)), 0.99)


def _check_machine(cache: Path) -> None:
    require_root("The lab's image", "mmdebstrap and file ownership need it")
    for tool, package in (
        ("mmdebstrap", "mmdebstrap"),
        ("mke2fs", "e2fsprogs"),
        ("setpriv", "util-linux"),
        ("unshare", "util-linux"),
    ):
        require(tool, package)
    if not KEYRING.exists():
        raise MachineError(
            "Debian's archive keys are missing",
            expected=str(KEYRING),
            got="no such file",
            advice="apt-get install debian-archive-keyring",
        )
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise MachineError(
            "Too little disk space to build the lab's image",
            expected=f"{NEEDED_BYTES / 2**30:.1f} GB free at {cache}",
            got=f"{free / 2**30:.1f} GB",
            advice="Free some, or set COX_CACHE to a directory on a larger disk.",
        )


@contextlib.asynccontextmanager
async def _locked(path: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold a lock between processes; it goes with the process that holds it."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress("wait", 0.0, "another process is building the image")
                await asyncio.sleep(0.5)
        yield


def _unpack_sources(folder: Path) -> None:
    """`lua5.4_5.4.7.orig.tar.gz` becomes the directory `lua5.4`; apt checked its hash."""
    for archive in folder.glob("*.orig.tar.*"):
        target = folder / archive.name.split("_")[0]
        target.mkdir()
        subprocess.run(
            ["tar", "-xf", archive, "-C", target, "--strip-components=1", "--no-same-owner"],
            check=True,
        )
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()


# Units that only cost time in a guest that lives for minutes, has no user and no hardware.
_MASKED = HOST_TREE / "guest.masked"


async def _unpack_kernel(root: Path, packed: Path, target: Path) -> None:
    """The kernel without its self-extractor, which takes an emulated CPU 1.5 s."""
    payload = target.with_name("payload.zst")
    payload.write_bytes(_kernel_payload(packed))
    await run_in_root(
        root,
        ["/usr/bin/zstd", "-q", "-d", "-f", "-o", str(target), str(payload)],
        what="The kernel cannot be unpacked",
    )
    payload.unlink()


def _kernel_payload(packed: Path) -> bytes:
    """What a bzImage carries: Documentation/arch/x86/boot.rst, payload_offset and _length."""
    image = packed.read_bytes()
    setup_sectors = image[0x1F1]
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # The last four bytes are the unpacked size, which zstd does not know about.
    return image[start : start + length - 4]


def _furnish(tree: Path, wheels: Path) -> None:
    """Turn a bare Debian root into a host: our units and files, our packages, our settings."""
    for source in host_files():
        part = source.relative_to(HOST_TREE)
        if source == _MASKED:
            continue
        if part.parts[0] == "guest":
            target = tree.joinpath(*part.parts[1:])
        elif part.parts[0] == "bin":
            target = tree / "usr/local/bin" / part.name
        elif part.suffix == ".sysusers":
            target = tree / "usr/lib/sysusers.d" / f"{part.stem}.conf"
        else:
            target = tree / "etc/systemd/system" / part.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
        os.chown(target, 0, 0)
        if target.suffix == ".service":
            _enable(tree, target)
    (tree / "opt/coxswain/src").mkdir(parents=True)
    shutil.copytree(wheels, tree / "opt/coxswain/lib", symlinks=True)
    for unit in _MASKED.read_text().split():
        link = tree / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    # Made at boot from the kernel command line; an image must have none of its own.
    (tree / "etc/machine-id").write_text("uninitialized\n")
    (tree / "etc/hostname").unlink(missing_ok=True)
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    (tree / "etc/fstab").write_text("/dev/vda / ext4 rw,noatime 0 0\n")
    default = tree / "etc/systemd/system/default.target"
    default.unlink(missing_ok=True)
    default.symlink_to("/usr/lib/systemd/system/multi-user.target")
    # Users are made now, and nothing at boot shall think that /usr is new (systemd.unit(5),
    # ConditionNeedsUpdate=).
    subprocess.run(["chroot", tree, "systemd-sysusers"], check=True, capture_output=True)
    for folder in ("etc", "var"):
        (tree / folder / ".updated").touch()


def _enable(tree: Path, unit: Path) -> None:
    """What `systemctl enable` does, for a root that is not running."""
    for line in unit.read_text().splitlines():
        if line.startswith("WantedBy="):
            wants = tree / "etc/systemd/system" / f"{line.removeprefix('WantedBy=')}.wants"
            wants.mkdir(exist_ok=True)
            link = wants / unit.name
            link.unlink(missing_ok=True)
            link.symlink_to(f"/etc/systemd/system/{unit.name}")


async def _packages(tree: Path) -> dict[str, str]:
    """Names and versions of what is installed."""
    status = (tree / "var/lib/dpkg/status").read_text()
    found = re.findall(r"^Package: (\S+)$.*?^Version: (\S+)$", status, re.MULTILINE | re.DOTALL)
    return dict(sorted(found))


def _collect_garbage(cache: Path, current: Image) -> None:
    """Keep the newest images, and the stages they came from."""
    images = sorted(
        (path for path in (cache / "images").iterdir() if (path / "manifest.json").exists()),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    kept = [current.directory, *(p for p in images if p != current.directory)][:KEPT_IMAGES]
    wanted: set[Path] = set(kept)
    for directory in kept:
        manifest = msgspec.json.decode((directory / "manifest.json").read_bytes(), type=Manifest)
        wanted |= {cache / "roots" / manifest.root_key, cache / "wheels" / manifest.wheels_key}
    for kind in ("images", "roots", "wheels"):
        for path in (cache / kind).iterdir():
            if path not in wanted:
                _remove_tree(path)


def _remove_tree(path: Path) -> None:
    """Remove a stage; never through a mount somebody made in it."""
    if not path.exists():
        return
    mounts = MOUNTS.read_text().splitlines()
    below = [point for line in mounts if (point := line.split()[4]).startswith(f"{path}/")]
    if below:
        raise MachineError(
            "An unfinished image cannot be removed",
            expected=f"no mount below {path}",
            got=", ".join(below),
            advice=f"umount {' '.join(reversed(below))}",
        )
    shutil.rmtree(path)
