"""The parts of the pmxcfs stand-in; Python's standard library, pyfuse3 and corosync's C libraries only."""
