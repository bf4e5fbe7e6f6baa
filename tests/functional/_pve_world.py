"""A node made of a directory and recorded tools, for functional tests of the PVE modules through Salt's
loader.
"""

import errno
import os
import pathlib
import stat
import textwrap
import threading

import salt.config
import salt.loader
from pve_corosync.node import etc_pve

REPO = pathlib.Path(__file__).resolve().parents[2]


def put(path, text, mode=0o644):
    """
    Replace a file as a whole, so that who reads or runs it meanwhile has the old one or the new one.
    """
    fresh = path.with_name(f".{path.name}.{threading.get_ident()}")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


class World:
    """
    One node: ``root`` holds its files (``etc/pve`` counts as mounted once :meth:`mount` was called), ``bin``
    its tools.

    Every call of a tool made by :meth:`tool` is noted in ``calls``.
    """

    def __init__(self, path, monkeypatch):
        self.root = path / "root"
        self.bin = path / "bin"
        self.log = path / "calls"
        self.pve = self.root / "etc/pve"
        for folder in (self.bin, self.pve, self.root / "proc", self.root / "run", self.root / "etc/ssh"):
            folder.mkdir(parents=True)
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("WORLD", str(path))
        self._mods = None

    def tool(self, name, script):
        """
        Put a tool on PATH: a shell script that sees ``$WORLD`` and its arguments.
        """
        body = textwrap.dedent(script).strip()
        put(
            self.bin / name,
            f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>"$WORLD/calls"\n{body}\n',
            0o755,
        )

    def calls(self, start=""):
        """
        Return the command lines of the tools so far that start with a text.
        """
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(start)]

    def mount(self, writable=True):
        """
        Make ``/etc/pve`` look mounted. The mode of a link cannot be set on Linux, so the tool ``stat`` tells
        it, out of the file ``$WORLD/local-mode``: a tool may run while a test changes what it tells.
        """
        link = self.pve / "local"
        if not link.is_symlink():
            link.symlink_to("nodes/pve1")
        mode = stat.S_IFLNK | (0o755 if writable else 0o555)
        put(self.bin.parent / "local-mode", f"{mode:x}\n")
        if not (self.bin / "pmxcfs").exists():
            self.tool("pmxcfs", "exit 0")
            self.tool(
                "stat",
                'case "$*" in *etc/pve/local) cat "$WORLD/local-mode" ;; *) exec /usr/bin/stat "$@" ;; esac',
            )

    def refuse_writes(self, monkeypatch, number=errno.EBUSY):
        """
        Make every write below ``/etc/pve`` fail while the file ``$WORLD/refusing`` exists, which is returned:
        pmxcfs answers so, with the mode bits unchanged, while it joins its group again (EBUSY).
        """
        flag = self.bin.parent / "refusing"
        wrapper = self.bin.parent / "etc_pve_refusing.py"
        wrapper.write_text(
            "import os, runpy, sys\n"
            "def refusing(real):\n"
            "    def call(path, *more, **named):\n"
            f"        if '/etc/pve' in str(path) and os.path.exists({str(flag)!r}):\n"
            f"            raise OSError({int(number)}, os.strerror({int(number)}), path)\n"
            "        return real(path, *more, **named)\n"
            "    return call\n"
            "for name in ('mkdir', 'rmdir', 'unlink', 'rename', 'utime'):\n"
            "    setattr(os, name, refusing(getattr(os, name)))\n"
            f"runpy.run_path({etc_pve.command()[-1]!r}, run_name='__main__')\n"
        )
        command = [*etc_pve.command()[:-1], str(wrapper)]
        monkeypatch.setattr(etc_pve, "command", lambda python=None: command)
        flag.write_text("")
        return flag

    def file(self, name, text):
        """
        Write a file below the root.
        """
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def units(self, **states):
        """
        Make ``systemctl show`` tell these ActiveStates (kept in ``$WORLD/units/<unit>``), and its verbs
        change them.
        """
        folder = self.bin.parent / "units"
        folder.mkdir(exist_ok=True)
        for name, state in states.items():
            (folder / name.replace("_", "-")).write_text(state)
        self.tool(
            "systemctl",
            """
            verb=$1; shift
            for unit; do case $unit in -*|Id,*) continue ;; esac
                name=${unit%.service}; file="$WORLD/units/$name"
                if [ -e "$WORLD/$verb-fails" ]; then cat "$WORLD/$verb-fails" >&2; exit 1; fi
                case $verb in
                    show) if [ -e "$file" ]; then
                              printf 'Id=%s\\nLoadState=loaded\\nActiveState=%s\\n' "$unit" "$(cat "$file")"
                              printf 'MainPID=77\\nCanReload=yes\\n'
                              since=$(cat "$WORLD/since-$name" 2>/dev/null)
                              printf 'ActiveEnterTimestampMonotonic=%s\\n\\n' "${since:-0}"
                          else
                              printf 'Id=%s\\nLoadState=not-found\\n' "$unit"
                              printf 'ActiveState=inactive\\nMainPID=0\\n\\n'
                          fi ;;
                    stop) echo inactive >"$file"; [ ! -x "$WORLD/on-stop" ] || "$WORLD/on-stop" "$name" ;;
                    start|restart|reload-or-restart)
                        echo active >"$file"; [ ! -x "$WORLD/on-start" ] || "$WORLD/on-start" "$name" ;;
                esac
            done
            """,
        )

    def hook(self, name, script):
        """
        Give ``on-stop`` or ``on-start`` a script; it gets the unit's name.
        """
        path = self.bin.parent / name
        path.write_text(f"#!/bin/sh\n{textwrap.dedent(script).strip()}\n")
        path.chmod(0o755)

    @property
    def salt(self):
        """
        The execution modules, loaded as a minion does it.
        """
        if self._mods is None:
            opts = salt.config.DEFAULT_MINION_OPTS.copy()
            opts.update(
                cachedir=str(self.root / "cache"),
                extension_modules=str(self.root / "cache/extmods"),
                module_dirs=[str(REPO / "_modules")],
                utils_dirs=[str(REPO / "_utils")],
                file_client="local",
                pve_corosync={"root": str(self.root)},
                grains={},
                id="pve1",
            )
            self._mods = salt.loader.minion_mods(opts)
        return self._mods
