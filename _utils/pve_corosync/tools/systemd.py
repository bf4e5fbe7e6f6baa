"""What ``systemctl show`` tells about units, and which PVE tasks run in a unit."""

from __future__ import annotations

#: properties that the execution modules ask for.
PROPERTIES = "Id,LoadState,ActiveState,SubState,MainPID,CanReload,Result,ActiveEnterTimestampMonotonic"

#: PVE names the process of a running task ``task UPID:<node>:<pid>:…`` (PVE/RESTEnvironment.pm fork_worker).
TASK_PREFIX = "task UPID:"


def command(units) -> list[str]:
    """Return the command that asks for the units: ``["systemctl", "show", …]``.

    :param units: names; one without a suffix is a service.
    """
    return ["systemctl", "show", "-p", PROPERTIES, "--", *[full_name(unit) for unit in units]]


def full_name(unit: str) -> str:
    """Return the unit's name with its suffix."""
    return unit if "." in unit else f"{unit}.service"


def show(text: str) -> dict[str, dict]:
    """Parse ``systemctl show`` into ``{unit without .service: {"loaded", "active", "state", "sub", "pid",
    …}}``.

    :param text: the output for one or more units; blocks of ``Key=value`` lines with a blank line between.

    ``loaded`` is whether the unit exists here; ``state`` is ActiveState; ``active`` is whether it runs now
    (``active``, ``reloading``, ``activating`` after its start is not over).
    """
    units = {}
    for block in text.replace("\r", "").split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if not values.get("Id"):
            continue
        name = values["Id"].removesuffix(".service")
        state = values.get("ActiveState", "")
        units[name] = {
            "loaded": values.get("LoadState") not in ("not-found", "masked", None),
            "active": state in ("active", "reloading"),
            "state": state,
            "sub": values.get("SubState", ""),
            "pid": _number(values.get("MainPID")),
            "can_reload": values.get("CanReload") == "yes",
            "result": values.get("Result", ""),
            "since": _number(values.get("ActiveEnterTimestampMonotonic")),
        }
    return units


def task(cmdline: bytes) -> str | None:
    """Return the UPID of a running PVE task from the process's command line, None for any other process.

    :param cmdline: the bytes of ``/proc/<pid>/cmdline``.
    """
    text = cmdline.split(b"\0", 1)[0].decode("latin-1").strip()
    return text[len("task ") :].split()[0] if text.startswith(TASK_PREFIX) else None


def _number(text) -> int:
    return int(text) if text and text.isdigit() else 0
