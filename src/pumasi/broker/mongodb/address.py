"""Where the servers are, as a URL says it, and which database and collection are meant.

    mongodb://user:password@host:27017,host/database?replicaSet=rs0        mongodb+srv://user:password@host/database

The database is `job_db` unless the URL names one; the documents of other programs are in its collection `jobs`, or in
the one that the option `collection` names. What MongoDB's drivers know (`replicaSet`, `authSource`, `tls`, …) is passed
on; as with any driver, a user is looked up in the database of the URL, or in `admin` when it names none.
"""

import re
from urllib.parse import quote, unquote

from msgspec import Struct
from pymongo import uri_parser
from pymongo.errors import PyMongoError

from pumasi.broker.mongodb.classic import COLLECTION, DATABASE
from pumasi.errors import Invalid

#: options of the driver
_THEIRS = frozenset(name.lower() for name in uri_parser.URI_OPTIONS) | {"timeoutms", "uuidrepresentation"}
_PLACE = re.compile(r"(?:(?P<user>[^@/]*)@)?(?P<hosts>[^@/]+)(?:/(?P<database>[^/]*))?")
#: what no database may be called on some system that MongoDB runs on
_DATABASE = re.compile(r'[^/\\. "$*<>:|?\0]{1,63}')
_COLLECTION = re.compile(r"(?!system\.|pumasi_)[^$\0.][^$\0]{0,119}")


class Address(Struct, frozen=True, kw_only=True):
    """A database of a server, or of a set of them."""

    #: for the driver; a password may be in it
    uri: str
    scheme: str
    #: the servers, for messages
    place: str
    database: str
    #: where the documents of other programs are
    collection: str

    @property
    def url(self) -> str:
        """The URL, without what is secret: for people."""
        collection = f"?collection={quote(self.collection)}" if self.collection != COLLECTION else ""
        return f"{self.scheme}://{self.place}/{quote(self.database)}{collection}"


def parsed(url: str) -> tuple[Address, str]:
    """The address that a URL names, and those options of it that are not about the address. Raises: Invalid."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    options = [(option.partition("=")[0], option) for option in query.split("&") if option]
    collections = [unquote(option.partition("=")[2]) for name, option in options if name == "collection"]
    theirs = "&".join(option for name, option in options if name.lower() in _THEIRS)
    others = "&".join(option for name, option in options if name.lower() not in _THEIRS and name != "collection")
    match = _PLACE.fullmatch(place)
    if match is None:
        raise _no_address()
    address = Address(
        uri=f"{scheme}://{place}" + (f"{'' if '/' in place else '/'}?{theirs}" if theirs else ""),
        scheme=scheme,
        place=match["hosts"],
        database=unquote(match["database"] or DATABASE),
        collection=collections[-1] if collections else COLLECTION,
    )
    _check(address, theirs)
    return address, others


def _check(address: Address, options: str) -> None:
    if not _DATABASE.fullmatch(address.database):
        raise Invalid(
            'a MongoDB database has a name of 1 to 63 characters, none of them / \\ . " $ * < > : | ? or a space, '
            "not {name!r}",
            name=address.database,
        )
    if not _COLLECTION.fullmatch(address.collection):
        raise Invalid(
            "option collection of a MongoDB URL names the collection of the documents, without $, and none of ours "
            "or the server's; not {name!r}",
            name=address.collection,
        )
    for option in filter(None, options.split("&")):
        name = option.partition("=")[0]
        try:
            uri_parser.split_options(option)
        except (PyMongoError, ValueError, TypeError) as error:
            # what the driver says may quote a secret
            raise Invalid(
                "option {name!r} of a MongoDB URL has a value that MongoDB's driver does not take",
                name=name,
            ) from error.with_traceback(None)
    if address.scheme == "mongodb":
        try:
            uri_parser.parse_uri(address.uri, warn=True)
        except (PyMongoError, ValueError) as error:
            raise _no_address() from error.with_traceback(None)


def _no_address() -> Invalid:
    return Invalid(
        "this is no MongoDB URL; write mongodb://USER:PASSWORD@HOST:27017/DATABASE, with characters such as @ and / "
        "in a password as %40 and %2F"
    )
