"""A private server that speaks S3: moto's, which keeps everything in its memory."""

import atexit
import functools
import importlib.util
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.servers import Server, accepts, missing

BUCKET = "blobs"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAPUMASITESTS",
    "AWS_SECRET_ACCESS_KEY": "not-to-be-seen",
    "AWS_SESSION_TOKEN": "",
    "AWS_REGION": "us-east-1",
}


class S3Server(Server):
    """An S3 with one bucket; a `strict` one knows nobody's credentials once that is made."""

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        super().__init__(folder)
        self.strict = strict

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The URL of a place in its bucket."""
        return self.place("")

    def place(self, prefix: str, bucket: str = BUCKET) -> str:
        """The URL of a place below a prefix."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"

    def command(self) -> Sequence[str]:
        if importlib.util.find_spec("moto") is None:
            missing("moto", "pip install 'moto[server]'")
        # a test process that is killed leaves none behind
        mortal = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        strict = ["env", "INITIAL_NO_AUTH_ACTION_COUNT=1"] if self.strict else []
        serve = [sys.executable, "-c", "from moto.server import main; main()"]
        return [*mortal, *strict, *serve, "-H", "127.0.0.1", "-p", str(self.port)]

    def answers(self) -> bool:
        return accepts(self.port)

    def start(self) -> None:
        super().start()
        request = urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()


@functools.cache
def shared() -> S3Server:
    """The server that all tests of this process share; each has a prefix of its own. It ends with the process."""
    folder = Path(tempfile.mkdtemp(prefix="pumasi-s3-"))
    server = S3Server(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    return server
