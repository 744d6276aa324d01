"""Database URLs: libpq's syntax and parameters, read without ever repeating a part that could be a password.

The syntax is libpq's (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS), with
`postgresql+asyncpg://` for the sake of SQLAlchemy users and `embedded:///path` for a server of one's own.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, unquote

from .redaction import MASK, Secret

__all__ = ["DatabaseUrl", "UrlError", "parse_url"]

_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+asyncpg"})
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSION_ATTRS = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")

# Parameters that asyncpg reads from a DSN just as libpq does.
_DRIVER = frozenset(
    [
        "gsslib",
        "krbsrvname",
        "passfile",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
    ]
)
# Parameters that become settings of the session. The last five are no libpq parameters; Go's and Java's drivers
# take them, so URLs have them.
_SESSION = {
    name.lower(): name
    for name in [
        "application_name",
        "options",
        "search_path",
        "TimeZone",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
    ]
}
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_CHOICES = {
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "sslmode": _SSL_MODES,
    "target_session_attrs": _SESSION_ATTRS,
    "load_balance_hosts": ("disable", "random"),
}
# The highest numbers that libpq, or Linux behind it, takes.
_NUMBERS = {
    "connect_timeout": 2**31 - 1,
    "keepalives": 2**31 - 1,
    "keepalives_count": 127,
    "keepalives_idle": 32767,
    "keepalives_interval": 32767,
    "tcp_user_timeout": 2**31 - 1,
}
# Parameters that only libpq knows: these values ask for what happens anyway, any other cannot be had from asyncpg.
_HARMLESS = {
    "channel_binding": ("disable", "prefer"),
    "client_encoding": ("utf8", "utf-8", "auto", "unicode"),
    "gssdelegation": ("0",),
    "gssencmode": ("disable", "prefer"),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "min_protocol_version": ("3.0",),
}
_REFUSED = frozenset(
    [
        "hostaddr",
        "max_protocol_version",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_issuer",
        "oauth_scope",
        "replication",
        "require_auth",
        "requirepeer",
        "requiressl",
        "scram_client_key",
        "scram_server_key",
        "servicefile",
        "sslcertmode",
        "sslcrldir",
        "sslkeylogfile",
    ]
)
_ENCODE_HINT = (
    "if it belongs to the user name or the password, percent-encode it there ('/' as %2F, '#' as %23, '?' as %3F,"
    " '@' as %40, ':' as %3A, '%' as %25)"
)


class UrlError(ValueError):
    """A URL that cannot be used. The message never repeats a part of the URL that could be a secret."""


class DatabaseUrl(NamedTuple):
    """Where the database is, and who we are there. `str()` and `repr()` leave the password out.

    Attributes:
        hosts: Host names, addresses or socket folders, tried in this order; empty for the driver's default.
        ports: One for each host, or a single one for all; empty for 5432.
        user, password, database: None for the driver's default (`PGUSER`, `.pgpass` and so on).
        driver: Parameters that asyncpg reads as libpq does, `sslmode` and its like.
        session: Settings of the session, `application_name` and its like.
        socket: Keepalive settings for the socket, by libpq's names.
        connect_timeout: Time for one attempt, where the URL gives one.
        shuffle_hosts: Whether `load_balance_hosts=random` was asked for.
        embedded: Folder of an embedded server instead of all of the above.
        setting: The setting that it was given by, for messages.
    """

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str | None = None
    password: Secret | None = None
    database: str | None = None
    driver: Mapping[str, str] = MappingProxyType({})
    session: Mapping[str, str] = MappingProxyType({})
    socket: Mapping[str, int] = MappingProxyType({})
    connect_timeout: timedelta | None = None
    shuffle_hosts: bool = False
    embedded: str | None = None
    setting: str = "DATABASE_URL"

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Each host with its port."""
        ports = self.ports or (5432,)
        return tuple(zip(self.hosts, ports if len(ports) == len(self.hosts) else ports * len(self.hosts), strict=True))

    def __hash__(self) -> int:
        return hash(self[:5])  # mappings have none

    def __str__(self) -> str:
        if self.embedded is not None:
            return f"embedded://{self.embedded}"
        user = quote(self.user or "", safe="")
        login = f"{user}:{MASK}@" if self.password else f"{user}@" if user else ""
        where = ",".join(_show_host(host) + (f":{port}" if self.ports else "") for host, port in self.places)
        if not self.hosts and self.ports:
            where = f":{self.ports[0]}"
        return f"postgresql://{login}{where}/{quote(self.database or '', safe='')}"

    def __repr__(self) -> str:
        return f"DatabaseUrl('{self}')"


def _show_host(host: str) -> str:
    if host.startswith("/"):
        return quote(host, safe="")
    return f"[{host}]" if ":" in host else host


def parse_url(text: str) -> DatabaseUrl:
    """Read a database URL.

    Raises:
        UrlError: It cannot be used; the message says why.
    """
    text = text.strip()
    if not _is_unicode(text):
        raise UrlError(f"there are bytes in it that are not UTF-8; {_ENCODE_HINT}")
    if text[:1] in {"'", '"'}:
        raise UrlError("it stands in quotes, which an env file or a manifest has kept: take them away")
    scheme, colon, rest = text.partition(":")
    if not colon or not rest.startswith("//"):
        raise UrlError("it does not begin with postgresql:// (write postgresql://user:password@host:5432/database)")
    if scheme == "embedded":
        return _parse_embedded(rest.removeprefix("//"))
    if scheme not in _SCHEMES:
        raise UrlError("its scheme is unknown; use postgresql://, postgres://, postgresql+asyncpg:// or embedded:///")
    authority, path, query = _cut(rest.removeprefix("//"))
    login, _, location = authority.rpartition("@")
    user, password = _read_login(login)
    hosts, ports = _read_hosts(location)
    if any(character in path for character in "/@"):
        raise UrlError(f"the database name has a '/' or '@' in it; {_ENCODE_HINT}")
    parameters = _read_query(query)
    hosts, ports = _override_hosts(hosts, ports, parameters)
    user = parameters.pop("user", user) or None
    if "password" in parameters:
        password = _read_password(parameters.pop("password"))
    database = parameters.pop("dbname", parameters.pop("database", _decode(path))) or None
    return DatabaseUrl(hosts, ports, user, password, database, **_sort_parameters(parameters))  # type: ignore[arg-type]


def _is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogates, which bytes of the environment become that are not UTF-8."""
    return not re.search("[\ud800-\udfff]", text)


def _parse_embedded(path: str) -> DatabaseUrl:
    if not path.startswith("/") or path == "/" or "?" in path:
        raise UrlError("an embedded server needs an absolute folder of its own and nothing else: embedded:///srv/pg")
    return DatabaseUrl(embedded=_decode(path))


def _cut(rest: str) -> tuple[str, str, str]:
    """Cut `user:password@host:port/database?query` into authority, database and query."""
    match = re.match(r"([^/?#]*)(?:/([^?]*))?(?:\?(.*))?\Z", rest, re.DOTALL)
    if match is None:
        raise UrlError(f"there is a '#' in it that does not belong there; {_ENCODE_HINT}")
    return match[1], match[2] or "", match[3] or ""


def _read_login(login: str) -> tuple[str | None, Secret | None]:
    user, _, password = login.partition(":")
    return _decode(user) or None, _read_password(_decode(password))


def _read_password(text: str) -> Secret | None:
    return Secret(text) if text else None  # as libpq: an empty one is none


def _read_hosts(location: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if not location:
        return (), ()
    if re.match(r":[^,]", location):
        return (), (_read_port(location[1:]),)
    hosts, ports = [], []
    for item in location.split(","):
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(?::(.*))?", item, re.DOTALL)
        if match is None:
            raise UrlError(f"a host in it has a ':' or '[' too many; {_ENCODE_HINT}")
        host = _decode(match[1].strip("[]"))
        if not host:
            raise UrlError("a host in it is empty")
        if re.search(r"[\s@]", host):
            raise UrlError(f"a host in it has a blank or '@' in it; {_ENCODE_HINT}")
        hosts.append(host)
        ports.append(_read_port(match[2]) if match[2] else None)
    if not any(ports):
        return tuple(hosts), ()
    return tuple(hosts), tuple(port or 5432 for port in ports)


def _read_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:  # noqa: PLR2004 - the range of ports
        raise UrlError(f"what stands where the port should be is no number from 1 to 65535; {_ENCODE_HINT}")
    return int(text)


def _override_hosts(
    hosts: tuple[str, ...], ports: tuple[int, ...], parameters: dict[str, str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if "host" in parameters:
        named = parameters.pop("host")
        hosts = tuple(named.split(",")) if named else ()
        if not all(hosts):
            raise UrlError("a host in it is empty")
    if named_ports := parameters.pop("port", ""):
        ports = tuple(_read_port(port) for port in named_ports.split(","))
    if len(ports) > 1 and len(ports) != len(hosts):
        raise UrlError(f"it names {len(hosts)} hosts, but {len(ports)} ports; give one port for each, or one for all")
    return hosts, ports


def _read_query(query: str) -> dict[str, str]:
    parameters = {}
    for item in filter(None, query.split("&")):
        name, equals, value = item.partition("=")
        if not equals:
            raise UrlError(f"a parameter behind the '?' has no '='; {_ENCODE_HINT}")
        parameters[_decode(name)] = _decode(value)
    return parameters


def _decode(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise UrlError("a '%' in it is not followed by two hexadecimal digits; write a plain '%' as %25")
    try:
        text = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UrlError("what its percent signs encode is not UTF-8") from None
    if "\0" in text:
        raise UrlError("there is a NUL (%00) in it")
    return text


def _sort_parameters(parameters: dict[str, str]) -> dict[str, object]:
    """Give every parameter its place, or refuse it by name."""
    driver: dict[str, str] = {}
    session: dict[str, str] = {}
    numbers: dict[str, int] = {}
    if "ssl" in parameters:  # SQLAlchemy's name for it with asyncpg
        value = parameters.pop("ssl")
        parameters.setdefault("sslmode", "require" if value == "true" else value)
    session_fallback = parameters.pop("fallback_application_name", None)
    shuffle = False
    for name, value in parameters.items():
        _check_choice(name, value)
        if name in _DRIVER:
            driver[name] = value
        elif name.lower() in _SESSION:
            session[_SESSION[name.lower()]] = value
        elif name in _NUMBERS:
            numbers[name] = _read_number(name, value)
        elif name == "load_balance_hosts":
            shuffle = value == "random"
        else:
            _check_harmless(name, value)
    if session_fallback is not None:
        session.setdefault("application_name", session_fallback)
    _settle_system_certificates(driver)
    # libpq takes 0 as "wait for ever", which is never wanted here: the default applies.
    timeout = numbers.pop("connect_timeout", 0)
    return {
        "driver": driver,
        "session": session,
        "socket": numbers,
        "connect_timeout": timedelta(seconds=timeout) if timeout else None,
        "shuffle_hosts": shuffle,
    }


def _check_choice(name: str, value: str) -> None:
    choices = _CHOICES.get(name)
    if choices and value not in choices:
        raise UrlError(f"its parameter {name} must be one of {', '.join(choices)}")


def _read_number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > _NUMBERS[name]:
        raise UrlError(f"its parameter {name} must be a whole number up to {_NUMBERS[name]}")
    return int(value)


def _check_harmless(name: str, value: str) -> None:
    accepted = _HARMLESS.get(name)
    if accepted is not None:
        if value.lower() not in accepted:
            raise UrlError(f"its parameter {name} asks for what only libpq can do; leave it out")
    elif name in _REFUSED:
        raise UrlError(f"its parameter {name} is known to libpq only; leave it out")
    else:
        raise UrlError(_describe_unknown(name))


def _describe_unknown(name: str) -> str:
    """Name what was probably meant, not what stands there: behind a stray '?' or '&' that is a piece of a password."""
    from difflib import get_close_matches  # noqa: PLC0415 - seldom needed, and slow to import

    known = ["user", "password", "dbname", "host", "port", *_DRIVER, *_SESSION, *_NUMBERS, *_HARMLESS, *_CHOICES]
    guess = get_close_matches(name, known, n=1, cutoff=0.75)
    meant = f"did you mean {guess[0]}?" if guess else "settings of the server go into options=-c%20name%3Dvalue"
    return f"a parameter behind the '?' is unknown; {meant}"


def _settle_system_certificates(driver: dict[str, str]) -> None:
    """Libpq's rule: the system's certificates are only worth something with `verify-full`."""
    if driver.get("sslrootcert") == "system" and driver.setdefault("sslmode", "verify-full") != "verify-full":
        raise UrlError("sslrootcert=system needs sslmode=verify-full")
