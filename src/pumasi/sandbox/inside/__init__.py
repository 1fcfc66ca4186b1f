"""What runs inside: the code of the processes between a worker and a script. Stdlib only, Python >= 3.9.

It is loaded as the package `_pumasi` by `start.py`, under the Python that runs the script, which may know nothing of
ours. Nothing here may import anything of `pumasi` but its neighbours, and those by relative imports.
"""
