"""When its first line runs, by the clock that the broker of this machine goes by, too."""

import time

print(time.time())
