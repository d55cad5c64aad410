"""Builds every container image: `make images`.

Neither an image registry nor a package index has to be reachable from inside a build, and so
none is asked there: Debian comes through this machine's own apt mirror (mmdebstrap, `docker
import`), Python packages through this machine's pip, by the locked hashes. Runs as root.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from shared.errors import CoxswainError, MachineError
from shared.microvm import Image, ensure_image
from shared.microvm.image import GUEST_PYTHON, KEYRING
from shared.microvm.mirror import apt_options, debian_mirror
from shared.microvm.places import CHECKOUT
from shared.microvm.tools import require, require_root, run_tool

HERE = Path(__file__).parent
BUILD = CHECKOUT / "build" / "images"
# Raise it when this file makes something else of the same recipe.
BUILDER_VERSION = 1
LAB = "lab"
_NO_DOCS = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64")
_USER = "coxswain:x:10001:10001::/var/lib/coxswain:/usr/sbin/nologin"
_GROUP = "coxswain:x:10001:"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One image: what it stands on and what is put in."""

    base: str
    lock: str
    parts: list[str]
    lab: bool = False
    """With the lab's image inside."""


class Recipes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`images.toml`."""

    suite: str
    bases: dict[str, list[str]]
    images: dict[str, Recipe]


async def build(wanted: list[str]) -> None:
    """Build these images, or all. Raises MachineError."""
    recipes = msgspec.toml.decode((HERE / "images.toml").read_bytes(), type=Recipes)
    if unknown := set(wanted) - set(recipes.images):
        raise MachineError(
            f"no image is called {', '.join(sorted(unknown))}", expected=", ".join(recipes.images)
        )
    _check()
    version = _version()
    say(f"the lab's image, as on this machine (suite {recipes.suite})")
    lab = await ensure_image()
    for name in wanted or list(recipes.images):
        recipe = recipes.images[name]
        base = await _base(recipes, recipe.base, lab)
        if recipe.lab:
            base = await _with_lab(base, lab)
        tag = f"coxswain/{name}:{version}"
        context = BUILD / name
        shutil.rmtree(context, ignore_errors=True)
        shutil.copytree(await _packages(recipe.lock), context / "lib", symlinks=True)
        _sources(recipe, context / "src")
        _name(version, context / "src")
        await _docker_build(tag, HERE / "Dockerfile", context, "--build-arg", f"BASE={base}")
        say(f"{tag}  {_size(tag)}")


def say(text: str) -> None:
    """One line for whoever waits."""
    print(f"images: {text}", flush=True)


def _check() -> None:
    require_root("Images", "mmdebstrap and file ownership need it")
    for tool, package in (
        ("docker", "docker.io"),
        ("mmdebstrap", "mmdebstrap"),
        ("qemu-img", "qemu-utils"),
    ):
        require(tool, package)
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise MachineError(
            "No Docker engine answers",
            expected="docker version to say a server's version",
            got=done.stderr.strip(),
            advice="Start it: systemctl start docker.",
        )


def _version() -> str:
    """COX_VERSION of `.env`: what compose.yaml asks for."""
    lines = (CHECKOUT / ".env").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("COX_VERSION="))


# What an image stands on -------------------------------------------------------------------


async def _base(recipes: Recipes, name: str, lab: Image) -> str:
    """The tag of a base, imported if it is not there."""
    packages = recipes.bases.get(name, [])
    content = [
        BUILDER_VERSION,
        recipes.suite,
        *packages,
        _USER,
        lab.manifest.root_key * (name == LAB),
    ]
    key = hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]
    tag = f"coxswain/base-{name}:{key}"
    if _exists(tag):
        return tag
    say(f"{tag}: {'the lab host itself' if name == LAB else ' '.join(packages)}")
    archive = BUILD / f"base-{name}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        if name == LAB:
            await _pack_lab(lab, archive)
        else:
            await _bootstrap(recipes.suite, packages, archive)
        await run_tool(
            ["docker", "import", str(archive), tag], what=f"The base {tag} cannot be imported"
        )
    finally:
        archive.unlink(missing_ok=True)
    return tag


async def _bootstrap(suite: str, packages: list[str], archive: Path) -> None:
    """Debian from this machine's mirror, and our user."""
    aptopts = [
        'Apt::Install-Recommends "false";',
        'Acquire::Languages "none";',
        'Acquire::Retries "3";',
        *apt_options(),
    ]
    user = f'echo {_USER} >> "$1/etc/passwd"; echo {_GROUP} >> "$1/etc/group"'
    await run_tool(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
            *("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--format=tar"),
            *(f"--aptopt={option}" for option in aptopts),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _NO_DOCS),
            f"--include={','.join(packages)}",
            f"--customize-hook={user}",
            # An image has no packages to fetch, and its mirror is nobody's business.
            '--customize-hook=rm -rf "$1/etc/apt/sources.list" "$1"/var/lib/apt/lists/*',
            *(suite, str(archive), "-"),
        ],
        what=f"The Debian root with {', '.join(packages)} cannot be built",
        advice="Check that apt works on this machine (apt-get update), then run this again.",
        stdin=f"deb [signed-by={KEYRING}] {debian_mirror()} {suite} main\n",
    )


async def _pack_lab(lab: Image, archive: Path) -> None:
    """The lab host's root without its kernel, and with our user."""
    replaced = ("etc/passwd", "etc/group")
    extra = BUILD / "lab-extra"
    shutil.rmtree(extra, ignore_errors=True)
    for name, line in (("passwd", _USER), ("group", _GROUP)):
        file = extra / "etc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((lab.debian_root / "etc" / name).read_text() + f"{line}\n")
        file.chmod(0o644)
    what = "The lab's root cannot be packed"
    left_out = [f"--exclude=./{path}" for path in ("boot", "usr/lib/modules", *replaced)]
    await run_tool(
        ["tar", "-C", str(lab.debian_root), *left_out, "-cf", str(archive), "."], what=what
    )
    await run_tool(["tar", "-C", str(extra), "-rf", str(archive), *replaced], what=what)
    shutil.rmtree(extra)


async def _with_lab(base: str, lab: Image) -> str:
    """A base with the lab's image, its disk as qcow2: an image's layers know no sparse files."""
    content = repr((BUILDER_VERSION, base, lab.manifest.key))
    tag = f"coxswain/base-host:{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    if _exists(tag):
        return tag
    say(f"{tag}: the lab's image")
    context = BUILD / "lab"
    shutil.rmtree(context, ignore_errors=True)
    place = context / "cache" / "images" / lab.manifest.key
    place.mkdir(parents=True)
    for file in (lab.kernel, lab.initrd, lab.directory / "manifest.json"):
        shutil.copyfile(file, place / file.name)
    await run_tool(
        [
            *("qemu-img", "convert", "-q", "-f", lab.root_format, "-O", "qcow2"),
            *(str(lab.root), str(place / "root.qcow2")),
        ],
        what="The lab's disk cannot be converted",
    )
    # The container is of the same suite: its own root compiles code for the guest.
    roots = context / "cache" / "roots"
    roots.mkdir()
    (roots / lab.manifest.root_key).symlink_to("/")
    recipe = context / "Dockerfile"
    recipe.write_text(f"FROM {base}\nCOPY cache /opt/coxswain/cache\n")
    await _docker_build(tag, recipe, context)
    return tag


async def _docker_build(tag: str, recipe: Path, context: Path, *arguments: str) -> None:
    await run_tool(
        [
            *("docker", "build", "--quiet", "--network", "none", *arguments),
            *("--tag", tag, "--file", str(recipe), str(context)),
        ],
        what=f"The image {tag} cannot be built",
    )
    shutil.rmtree(context)


# What is put in ----------------------------------------------------------------------------


async def _packages(lock: str) -> Path:
    """A lock's Python packages for the images' Python, checked by hash."""
    file = CHECKOUT / "requirements" / f"{lock}.txt"
    content = repr((BUILDER_VERSION, GUEST_PYTHON, file.read_text()))
    key = hashlib.sha256(content.encode()).hexdigest()[:12]
    place = BUILD / "packages" / f"{lock}-{key}"
    if place.exists():
        return place
    say(f"Python packages of {file.relative_to(CHECKOUT)}")
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    await run_tool(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(partial)),
            *(part for name in _PLATFORMS for part in ("--platform", name)),
            *("--python-version", GUEST_PYTHON, "--implementation", "cp"),
            # nkeys is pure Python that nobody has made a wheel of.
            *("--only-binary=:all:", "--no-binary=nkeys"),
            *("--no-deps", "--require-hashes", "--no-compile"),
            # The lock was made for that Python; pip would ask the one it runs on.
            "--ignore-requires-python",
            *("--disable-pip-version-check", "--no-input", "-r", str(file)),
        ],
        what=f"The Python packages of {file.name} cannot be installed",
        advice="Check that pip can download packages on this machine, then run this again.",
    )
    partial.rename(place)
    return place


def _sources(recipe: Recipe, target: Path) -> None:
    """The tree's own code, and no other service's."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    for part in ("shared", "services/__init__.py", *recipe.parts):
        source = CHECKOUT / part
        place = target / part
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy2(source, place)


def _name(version: str, target: Path) -> None:
    """What an installed package says of itself (reports, `cox version`)."""
    metadata = target / f"coxswain-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: coxswain\nVersion: {version}\n")


def _exists(tag: str) -> bool:
    done = subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False)
    return done.returncode == 0


def _size(tag: str) -> str:
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", tag],
        capture_output=True,
        text=True,
        check=True,
    )
    return f"{int(done.stdout) / 1e6:.0f} MB"


if __name__ == "__main__":
    try:
        asyncio.run(build(sys.argv[1:]))
    except CoxswainError as error:
        sys.stderr.write(f"images: {error}\n")
        sys.exit(error.exit_code)
