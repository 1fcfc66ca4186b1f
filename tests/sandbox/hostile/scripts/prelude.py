"""What every hostile script begins with."""

# ruff: noqa: F401 - what follows uses some of them
import ctypes
import errno
import os
import resource
import signal
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

#: in the name of whatever it makes: processes, files, queues
MARK = "hx-" + os.environ["PUMASI_JOB_ID"][-12:]
libc.prctl(15, MARK.encode(), 0, 0, 0)

#: what it has managed to do, and should not have
could = []


def can(name, action, *arguments):
    """Note that an action went well; False and an error of the system say that it did not."""
    try:
        if action(*arguments) is not False:
            could.append(name)
    except (OSError, ValueError):
        pass


def checked(value):
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value


def call(number, *arguments):
    """A system call by its number."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *words))


def allowed(number, *arguments):
    """Whether the kernel considers a call at all; arguments that mean nothing are its next complaint."""
    try:
        call(number, *arguments)
    except OSError as error:
        return error.errno not in (1, 13, 38)  # EPERM, EACCES, ENOSYS
    return True


def in_child(action, *arguments):
    """Whether it goes well in a child, which keeps what it does to itself."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(1 if action(*arguments) is False else 0)
        except OSError:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def fill(path, megabytes):
    with open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1 << 20))


def sleep_on():
    while True:
        time.sleep(60)
