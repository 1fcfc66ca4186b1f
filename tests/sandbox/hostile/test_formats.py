"""What a script says to its worker is JSON, and read as nothing else."""

import ast
from pathlib import Path

import pytest

import pumasi

SOURCE = Path(pumasi.__file__).parent


@pytest.mark.parametrize("package", ["sandbox", "runner", "script", "worker"])
def test_no_pickle(package: str) -> None:
    """Nothing that a script could have written is ever unpickled: nothing here can."""
    for path in (SOURCE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names}
            assert not roots & {"pickle", "marshal", "shelve", "dill", "multiprocessing"}, path
