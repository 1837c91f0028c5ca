"""Turn into another program, with less power and tied to the parent's life.

Run as a script (``python -I -S launcher.py [--user NAME] -- program args...``) between fork and exec, because what
it does must not happen in the parent: threads and ``preexec_fn`` do not mix.

* The new program gets SIGTERM (``--death-signal``) when its parent dies, so that even a SIGKILL of the supervisor or of
  a test run leaves no server behind (Linux only; elsewhere ``durabill down`` finds it by its pid file).
* With ``--user`` it runs as that user: Postgres refuses to run as root. The user often may not walk through the
  directories above the checkout (``/root``, ``mktemp -d``), and opening those to everybody is not ours to do; so on
  Linux the one capability to search directories and read files is kept, where the machine grants it.
"""

import argparse
import ctypes
import os
import pwd
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _searching_capability(libc: ctypes.CDLL) -> int | None:
    """Return which capability lets us walk through closed directories, if this process holds one."""
    header, data = _CapabilityHeader(CAPABILITY_VERSION_3, 0), (_CapabilityData * 2)()
    if libc.capget(ctypes.byref(header), data) != 0:
        return None
    held = data[0].permitted
    return next((cap for cap in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if held & (1 << cap)), None)


def _keep_only(libc: ctypes.CDLL, capability: int) -> None:
    """Give up every capability but this one, and hand it on over exec."""
    header, data, bit = _CapabilityHeader(CAPABILITY_VERSION_3, 0), (_CapabilityData * 2)(), 1 << capability
    data[0].effective = data[0].permitted = data[0].inheritable = bit
    if libc.capset(ctypes.byref(header), data) != 0:
        sys.exit("the capabilities of root could not be given up")
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def become(user: str) -> None:
    """Turn this process into one of the user's, keeping at most the right to search directories."""
    entry, libc = pwd.getpwnam(user), _libc()
    capability = _searching_capability(libc) if libc is not None else None
    if libc is not None and capability is not None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # Without this, access(2), by which initdb looks for its own programs, would not count the capability.
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    if libc is not None and capability is not None:
        _keep_only(libc, capability)


def die_with(parent: int, death_signal: int) -> None:
    """Ask the kernel to signal this process when its parent dies."""
    libc = _libc()
    if libc is None:
        return
    libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before we asked
        sys.exit(1)


def main() -> NoReturn:
    """Drop rights, tie to the parent, exec."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--death-signal", type=int, default=int(signal.SIGTERM))
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    if options.user:
        become(options.user)
    if options.parent:  # after setuid: changing user clears the request
        die_with(options.parent, options.death_signal)
    os.execvp(options.program[0], options.program)


if __name__ == "__main__":
    main()
