"""Build the Debian root that all nodes of a suite share, and keep it for the next time."""

import configparser
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from lab import host
from lab.shell import LabError, die_with_parent, note, run

SALT = {"bookworm": "salt>=3006,<3006.29", "trixie": "salt>=3008,<3008.4"}
# Salt 3008 wants timelib, which is built from source.
COMPILER = {"bookworm": (), "trixie": ("gcc", "libc6-dev", "python3-dev")}
SALT_COMMANDS = ("salt", "salt-call", "salt-key", "salt-master", "salt-minion", "salt-run")
MIRROR = os.environ.get("LAB_MIRROR", "http://deb.debian.org/debian")
# Nothing here serves the lab, and all of it costs boot time.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "systemd-timesyncd.service",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-firstboot.service",
    "systemd-ask-password-wall.path",
    "systemd-ask-password-console.path",
    "console-getty.service",
    "getty.target",
    "e2scrub_reap.service",
    "systemd-modules-load.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "ldconfig.service",
)


def packages(suite):
    """Return the Debian packages for a suite: lab/packages.txt, $LAB_PACKAGES, what Salt is built with."""
    text = (host.REPO / "lab" / "packages.txt").read_text(encoding="utf-8")
    named = {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}
    return sorted(named.union(COMPILER[suite], os.environ.get("LAB_PACKAGES", "").split()))


def folder(suite):
    """Return the cache folder of a suite; its name holds a hash of everything that goes into the root."""
    if suite not in SALT:
        raise LabError(f"there is no suite {suite!r}: choose one of {', '.join(SALT)}")
    recipe = Path(__file__).read_bytes() + "\n".join([suite, MIRROR, *packages(suite)]).encode()
    return host.CACHE / f"{suite}-{hashlib.sha256(recipe).hexdigest()[:12]}"


def provide(suite):
    """Return the root of a suite, building it first where the cache has none of this recipe."""
    target = folder(suite)
    if (target / "root").is_dir():
        return target / "root"
    with _locked():
        if not (target / "root").is_dir():
            _build(suite, target)
    return target / "root"


def prune():
    """Delete every cached root that neither the present recipes nor a lab that is up make use of."""
    wanted = {folder(suite).name for suite in SALT} | _in_use()
    with _locked():
        for old in host.CACHE.iterdir() if host.CACHE.is_dir() else ():
            if old.is_dir() and old.name not in wanted:
                shutil.rmtree(old)


def _in_use():
    """Return the cache folders that the labs of this machine run on."""
    texts = (state.read_text(encoding="utf-8") for state in host.HOME.glob("*/state.json"))
    return {Path(path).parent.name for text in texts for path in re.findall(r'"base": "([^"]+)"', text)}


@contextmanager
def _locked():
    """Let one process build at a time; the others find its result."""
    host.CACHE.mkdir(parents=True, exist_ok=True)
    with open(host.CACHE / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(suite, target):
    """Bootstrap, add Salt, tidy up; the finished root appears in the cache by one rename."""
    for stale in host.CACHE.glob(".building-*"):
        shutil.rmtree(stale)
    work = host.CACHE / f".building-{target.name}"
    root = work / "root"
    root.mkdir(parents=True)
    begin = time.monotonic()
    note(f"building the {suite} root (once)")
    _bootstrap(suite, root)
    note(f"  Debian {suite} with {len(packages(suite))} packages asked for: {time.monotonic() - begin:.0f} s")
    _add_salt(root, SALT[suite])
    _tidy(root)
    work.rename(target)
    note(f"  with Salt ({SALT[suite]}): {time.monotonic() - begin:.0f} s")


def _bootstrap(suite, root):
    """Run mmdebstrap with the machine's own apt proxy settings, if it has any."""
    options = [f"--aptopt={line}" for line in _apt_settings()]
    _logged(
        root.parent / "mmdebstrap.log",
        [
            "mmdebstrap",
            "--variant=minbase",
            "--mode=root",
            "--components=main",
            f"--keyring={host.KEYRING}",
            f"--include={','.join(packages(suite))}",
            *options,
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            suite,
            str(root),
            MIRROR,
        ],
    )


def _apt_settings():
    """Return the host's settings that say how to reach an archive, as lines for an apt.conf."""
    keep = re.compile(r"Acquire::(?:https?::Proxy|Check-Valid-Until|Check-Date|Retries)\b")
    return [line for line in run(["apt-config", "dump"], check=False).stdout.splitlines() if keep.match(line)]


def _add_salt(root, requirement):
    """Install Salt into /opt/salt, the way this machine installs Python packages."""
    log = root.parent / "salt.log"
    binds, settings = _pip_settings()
    inside = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        f"--directory={root}",
        "--resolv-conf=copy-host",
        "--timezone=off",
        *binds,
        *settings,
    ]
    _logged(log, [*inside, "python3", "-m", "venv", "/opt/salt"])
    _logged(
        log,
        [*inside, "/opt/salt/bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir", requirement],
    )
    for bind in binds:  # systemd-nspawn leaves an empty file or folder where each of them was
        _remove_empty(root, Path(bind.partition("=")[2]))
    for name in SALT_COMMANDS:
        (root / "usr/local/bin" / name).symlink_to(f"/opt/salt/bin/{name}")


def _remove_empty(root, path):
    """Delete an empty file or folder of the root, and the folders above it that are empty then."""
    inside = root / path.relative_to("/")
    if inside.is_file() and not inside.stat().st_size:
        inside.unlink()
    for above in (inside, *inside.parents):
        if above == root or (above.is_dir() and any(above.iterdir())):
            return
        if above.is_dir():
            above.rmdir()


def _pip_settings():
    """Translate the host's pip configuration to options of systemd-nspawn.

    Returns (binds, settings): the folders and files that the configuration names, bound read-only at the same
    place for the time of the build, and every setting as a PIP_… variable.
    """
    values = {}
    for path in (Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf"):
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(path, encoding="utf-8")
        for section in ("global", "install"):
            if parser.has_section(section):
                values.update(
                    {
                        f"PIP_{key.upper().replace('-', '_')}": " ".join(value.split())
                        for key, value in parser.items(section)
                    }
                )
    values.update({key: value for key, value in os.environ.items() if key.startswith("PIP_")})
    values.update(
        {key: os.environ[key] for key in ("http_proxy", "https_proxy", "no_proxy") if key in os.environ}
    )
    named = {word.removeprefix("file://") for value in values.values() for word in value.split()}
    local = {Path(word) for word in named if word.startswith("/") and Path(word).exists()}
    # An index page refers to files beside it: bind the folder above a simple/ index.
    local = {path.parent if path.name == "simple" else path for path in local}
    return (
        [f"--bind-ro={path}" for path in sorted(local)],
        [f"--setenv={key}={value}" for key, value in sorted(values.items())],
    )


def _logged(log, argv):
    """Run a long build step with its output in a file; LabError quotes the end of that file."""
    with open(log, "a", encoding="utf-8") as sink:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False, preexec_fn=die_with_parent
        )
    if done.returncode:
        tail = " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
        raise LabError(f"{argv[0]} could not build the node root ({tail}); the whole output is in {log}")


def _tidy(root):
    """Take out what must differ between nodes, and what slows a boot down."""
    for path in [
        *root.glob("etc/ssh/ssh_host_*"),
        root / "etc/machine-id",
        root / "etc/hostname",
        root / "etc/resolv.conf",
        root / "etc/corosync/corosync.conf",
        root / "etc/corosync/authkey",
    ]:
        path.unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("uninitialized\n", encoding="ascii")
    for part in ("var/lib/apt/lists", "var/cache/apt", "usr/share/doc"):
        shutil.rmtree(root / part, ignore_errors=True)
    units = root / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    for want in [*units.glob("*.wants/corosync*.service"), *units.glob("*.wants/remote-fs.target")]:
        want.unlink()
