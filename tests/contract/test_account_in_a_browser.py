"""The account of a run in a real browser: it is laid out, and it asks for nothing from outside."""

import pathlib
import shutil
import struct
import subprocess
import sys
import zlib

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "unit")]

from pve_corosync.report import account, account_page
from test_report_account import notes

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]


@pytest.fixture
def browser(tmp_path):
    """A function that runs Chromium on the page of a failover."""
    page = tmp_path / "page.html"
    page.write_text(account_page.html(account.account(notes())), encoding="utf-8")
    program = shutil.which("chromium")
    assert program, "Debian's chromium is not installed"

    def run(*words):
        call = [program, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", *words, page.as_uri()]
        done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def pixels(data):
    """Return ``(width, height, set of colours)`` of a PNG with 8 bits a channel (W3C PNG, 9.2 and 11.2)."""
    width, height, _, kind = struct.unpack(">IIBB", data[16:26])
    size, packed, place = {2: 3, 6: 4}[kind], b"", 8
    while place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        packed += data[place + 8 : place + 8 + length] if name == b"IDAT" else b""
        place += 12 + length
    raw, above, found = zlib.decompress(packed), bytearray(width * size), set()
    for row in range(height):
        start = row * (width * size + 1)
        line, how = bytearray(raw[start + 1 : start + 1 + width * size]), raw[start]
        for i in range(len(line)):
            left = line[i - size] if i >= size else 0
            up, corner = above[i], above[i - size] if i >= size else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[how]) & 255
        found |= {bytes(line[i : i + 3]) for i in range(0, len(line), size)}
        above = line
    return width, height, found


def test_the_browser_lays_the_page_out(browser, tmp_path):
    browser("--window-size=900,1000", "--screenshot=page.png")
    width, height, colours = pixels((tmp_path / "page.png").read_bytes())
    assert (width, height) == (900, 1000)
    wanted = {bytes.fromhex(account_page.COLOURS[state][1:]) for state in (True, False)}
    assert wanted <= colours, "both states of the timeline are drawn"


def test_the_browser_reads_the_page_as_we_wrote_it(browser):
    text = browser("--dump-dom")
    assert "Exit checklist" in text and text.count("<rect") > 4 and "Seconds without" in text
