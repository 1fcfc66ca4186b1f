"""Which isolation this host offers, and what each protection is worth here. Said openly: what is off stands beside
what is on."""

from msgspec import Struct

from pumasi.errors import BadSetting

LEVELS = ("full", "unprivileged", "container", "basic")
#: the level of every run so far
LEVEL = "basic"


class Protection(Struct, frozen=True):
    """One row of the table: what is protected, whether, and why it is or is not."""

    name: str
    on: bool
    why: str


#: level basic, row by row; the texts are message ids
BASIC = (
    Protection("a fresh process for every attempt", True, "forked by the slot's keeper, never reused"),
    Protection("closed environment and descriptors", True, "nothing of the worker's is inherited"),
    Protection("wall time, CPU time", True, "held by the keeper, also when the worker is stopped"),
    Protection("memory, processes, disk of the whole tree", True, "watched several times a second, not by the kernel"),
    Protection("open files, core dumps", True, "rlimits"),
    Protection("nothing outlives its job", True, "the keeper is subreaper: it kills and reaps the whole tree"),
    Protection("no new privileges", True, "PR_SET_NO_NEW_PRIVS"),
    Protection("own user", False, "scripts run as the worker's user; run the worker as a user of its own"),
    Protection("own file system", False, "scripts can read what the worker's user can read"),
    Protection("own network", False, "scripts reach every address that this host reaches"),
    Protection("system call filter", False, "not at level basic"),
)


def choose(setting: str) -> str:
    """The level to run at. Raises: BadSetting when the host does not offer what is asked for."""
    if setting == "auto":
        return LEVEL
    if setting == LEVEL:
        return setting
    raise BadSetting(
        "isolation is {value!r}, but only {offered} exists so far; use isolation = \"auto\", or run this elsewhere",
        value=setting, offered=LEVEL,
    )  # fmt: skip
