"""Write docs/rules.md: every finding code: python3 docs/make_rules.py"""

import importlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "rules.md"


def page() -> str:
    """Return the page as it should be."""
    if str(ROOT / "_utils") not in sys.path:
        sys.path.insert(0, str(ROOT / "_utils"))
    return importlib.import_module("pve_corosync.findings").docs_table()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
