"""Entry of a template: `python -I -S -B -X utf8 start.py FD`, where FD is its end of a SOCK_SEQPACKET pair."""

import os
import sys

if __name__ == "__main__":
    # a name of our own, so that a script's `template.py` or `keeper.py` is never taken for ours
    package = type(sys)("_pumasi")
    package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.modules["_pumasi"] = package
    sys.argv[0] = ""
    from importlib import import_module

    import_module("_pumasi.template").main(int(sys.argv[1]))
