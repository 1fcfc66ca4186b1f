"""What a script may use of Pumasi, if it likes: `from pumasi import script`.

    script.params                       the parameters it was started with, as a dict
    script.progress(3, 10, "page 3")    how far it is
    script.log("found", 17, "items")    a line for its log, also where standard output is the result
    script.artifact("page.png")         a file of its folder to keep after the run

Nothing here is needed, and all of it works without Pumasi as well: progress and log then go to standard error. Under
Pumasi they are lines of JSON on a pipe (descriptor 4) that the sandbox opened; a script that breaks it loses them and
goes on. Only the standard library is loaded, and little of it: `typing` alone would cost more than all the rest.
"""

from pumasi.script.channel import artifact, log, progress
from pumasi.script.parameters import parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["artifact", "log", "params", "progress"]

#: the parameters as a dict, {} when it was started without; raises ValueError when they are no JSON object
params: "dict[str, Any]"


def __getattr__(name: str) -> "Any":
    # Read on first use: a script may import this module long before it looks at its parameters, or never look at all.
    if name == "params":
        globals()["params"] = value = parameters()
        return value
    raise AttributeError(f"module 'pumasi.script' has no attribute {name!r}")
