"""Property tests are the same every time, whatever the machine is busy with."""

from hypothesis import settings

settings.register_profile("always the same", derandomize=True, database=None, deadline=None)
settings.load_profile("always the same")
