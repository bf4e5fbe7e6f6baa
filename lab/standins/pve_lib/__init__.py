"""The parts of the stand-ins for Proxmox VE's command line tools; standard library and Debian's programs only."""
