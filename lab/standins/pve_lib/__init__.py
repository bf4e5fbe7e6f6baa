"""The parts of the stand-in for pvecm; standard library and Debian's programs only."""
