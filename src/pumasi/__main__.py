"""`python -m pumasi` is `pumasi`."""

import sys

from pumasi.cli import main

if __name__ == "__main__":
    sys.exit(main())
