"""Where a database is, and how it is spoken to."""

import re
from functools import cache
from urllib.parse import quote, unquote

from msgspec import Struct
from psycopg import conninfo, errors, pq

from pumasi.errors import Invalid

#: seconds to wait for a connection to one address
CONNECT = 3
#: seconds that the server gives a statement, and those after which no answer is expected any more
STATEMENT = 8
DEADLINE = 10.0
#: the schema of a URL that names none
SCHEMA = "pumasi"
#: what a schema may be called: no quotes needed, and none of PostgreSQL's own
_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,47}")

#: how a dead host is noticed: unanswered data and an idle connection after 10 s
_DEFAULTS = {
    "connect_timeout": str(CONNECT),
    "application_name": "pumasi",
    "tcp_user_timeout": "10000",
    "keepalives": "1",
    "keepalives_idle": "4",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "client_encoding": "UTF8",
}

_SESSION = (
    f"-c statement_timeout={STATEMENT}s -c lock_timeout={STATEMENT}s "
    r"-c default_transaction_isolation=read\ committed"
)


class Target(Struct, frozen=True):
    """A schema in a database."""

    #: parameters of libpq; a password may be among them
    parameters: dict[str, str]
    schema: str

    @property
    def name(self) -> str:
        """The URL without secrets: for people."""
        given = self.parameters
        user = f"{quote(given['user'])}@" if "user" in given else ""
        host = given.get("host", "")
        port = f":{given['port']}" if "port" in given else ""
        schema = f"?schema={self.schema}" if self.schema != SCHEMA else ""
        return f"postgresql://{user}{quote(host, safe=':,[]')}{port}/{quote(given.get('dbname', ''))}{schema}"

    def connection(self, *, session: bool) -> dict[str, str]:
        """Parameters for a connection; with `session`, the server is asked to give up on long statements itself, and
        to let each of them see what was committed before it."""
        parameters = _DEFAULTS | self.parameters
        if session:
            parameters["options"] = f"{_SESSION} {parameters.get('options', '')}".strip()
        return parameters

    def hidden(self, text: str) -> str:
        """A text with the password masked."""
        password = self.parameters.get("password")
        for secret in {password, unquote(password)} if password else ():
            text = text.replace(secret, "***")
        return text


def parsed(rest: str) -> tuple[Target, str]:
    """From what follows `://` in a URL: the target, and those options that are not libpq's. Raises: Invalid."""
    place, _, query = rest.partition("?")
    options = [option.partition("=") for option in query.split("&") if option]
    schemas = [unquote(value) for name, _, value in options if name == "schema"]
    # as they stand: libpq reads a + as a plus
    libpq = "&".join("".join(option) for option in options if option[0] in _libpq())
    others = "&".join("".join(option) for option in options if option[0] not in {"schema", *_libpq()})
    try:
        given = conninfo.conninfo_to_dict(f"postgresql://{place}?{libpq}")
    except errors.Error:
        # what libpq says may quote the URL, and with it the password
        text = "this PostgreSQL URL cannot be read; write postgresql://USER:PASSWORD@HOST/DATABASE"
        raise Invalid(text) from None
    schema = schemas[-1] if schemas else SCHEMA
    if not _SCHEMA.fullmatch(schema):
        raise Invalid("a schema has a name of small letters, digits and _, at most 48, not {name!r}", name=schema)
    return Target({name: str(value) for name, value in given.items()}, schema), others


@cache
def _libpq() -> frozenset[str]:
    """The options that libpq knows."""
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())
