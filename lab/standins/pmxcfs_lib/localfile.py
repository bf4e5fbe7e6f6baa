"""The way from /etc/pve/corosync.conf to the daemon's /etc/corosync/corosync.conf, and never back."""

import os
import re
import subprocess
import tempfile
import time

from . import log

LOCAL = "/etc/corosync/corosync.conf"
NAME = "corosync.conf"
VERSION = re.compile(rb"config_version\s*:\s*(\d+)")
RELOAD_DELAY = 1
DOMAIN = "dcdb"


def version(data):
    """Return the first config_version anywhere in the bytes, comments included; 0 when there is none."""
    match = VERSION.search(data)
    return int(match[1]) if match else 0


def sync(tree, reload_after):
    """Bring the local file up to the cluster's, unless it is newer (pve-cluster: dcdb_sync_corosync_conf).

    reload_after: this node made the change, and so reloads corosync everywhere.
    """
    entry = tree.find(NAME)
    if entry is None or not entry.data:
        return
    new = version(entry.data)
    if not new:
        log.critical(DOMAIN, "unable to parse cluster config_version")
        return
    old, content = 0, None
    try:
        with open(LOCAL, "rb") as file:
            content = file.read()
        old = version(content)
    except FileNotFoundError:
        log.debug(DOMAIN, "no local corosync.conf yet")
    except OSError as error:
        log.critical(DOMAIN, f"unable to read cluster config file '{LOCAL}' - {error.strerror}")
        return
    if content == entry.data:
        return
    if new < old:
        log.critical(DOMAIN, "local corosync.conf is newer")
        return
    try:
        _replace(entry.data)
    except OSError as error:
        log.critical(DOMAIN, f"Failed to write file '{LOCAL}': {error.strerror}")
        return
    log.notice(DOMAIN, f"wrote new corosync config '{LOCAL}' (version = {new})")
    if reload_after and old:
        _reload()


def _replace(data):
    descriptor, temporary = tempfile.mkstemp(prefix=f"{os.path.basename(LOCAL)}.", dir=os.path.dirname(LOCAL))
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(descriptor, 0, 0)
            os.fchmod(descriptor, 0o644)
            file.write(data)
        os.rename(temporary, LOCAL)
    except OSError:
        os.unlink(temporary)
        raise


def _reload():
    # The other nodes write their files meanwhile; the real one waits as long and knows no more about them.
    time.sleep(RELOAD_DELAY)
    code = subprocess.run(
        ["corosync-cfgtool", "-R"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode
    if code:
        log.critical(DOMAIN, f"corosync-cfgtool -R failed with exit code {code}")
