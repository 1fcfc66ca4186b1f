"""A soak: many jobs over several worker processes, while everything around them fails at random.

troupe.py    who works and submits, each started again when it is killed
nemesis.py   what befalls them, their store and their network
soak.py      a run of it, and what came of it
__main__.py  `python -m tests.soak redis`, or `make soak BROKER=redis`
"""
