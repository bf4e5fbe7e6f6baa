"""Which Proxmox VE a stand-in stands for: the one that is built on the node's Debian."""

OF_DEBIAN = {"12": 8, "13": 9}


def major(path="/etc/os-release"):
    """Return 8 or 9; on a Debian that neither is built on, the newest."""
    with open(path, encoding="utf-8") as file:
        words = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    return OF_DEBIAN.get(words.get("VERSION_ID", "").strip('"'), max(OF_DEBIAN.values()))
