"""The core of pve-corosync: what is decided, on plain data; docs/architecture.md has the rooms."""

__version__ = "0.2.0"
