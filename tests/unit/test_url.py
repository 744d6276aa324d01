import copy
import pickle
import string
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbinit.redaction import MASK, Secret
from dbinit.url import DatabaseUrl, UrlError, parse_url

CANARY = "Zqcanaryq7"


def refusal(text: str) -> str:
    """Return why a URL is refused."""
    with pytest.raises(UrlError) as caught:
        parse_url(text)
    return str(caught.value)


# The cases of libpq's own test, src/interfaces/libpq/t/001_uri.pl, as far as they are not refused by name.
LIBPQ: dict[str, dict[str, Any]] = {
    "postgresql://uri-user:secret@host:12345/db": {
        "user": "uri-user",
        "password": Secret("secret"),
        "hosts": ("host",),
        "ports": (12345,),
        "database": "db",
    },
    "postgresql://uri-user@host:12345/db": {
        "user": "uri-user",
        "hosts": ("host",),
        "ports": (12345,),
        "database": "db",
    },
    "postgresql://host:12345/db": {"hosts": ("host",), "ports": (12345,), "database": "db"},
    "postgresql://host/db": {"hosts": ("host",), "database": "db"},
    "postgresql://uri-user@host/": {"user": "uri-user", "hosts": ("host",)},
    "postgresql://uri-user@": {"user": "uri-user"},
    "postgresql://host:12345": {"hosts": ("host",), "ports": (12345,)},
    "postgresql://host/": {"hosts": ("host",)},
    "postgresql://host": {"hosts": ("host",)},
    "postgresql://": {},
    "postgresql://%68ost/": {"hosts": ("host",)},
    "postgresql://host/db?user=uri-user": {"user": "uri-user", "hosts": ("host",), "database": "db"},
    "postgresql://host/db?u%73er=someotheruser&port=12345": {
        "user": "someotheruser",
        "hosts": ("host",),
        "ports": (12345,),
        "database": "db",
    },
    "postgresql://host:12345?user=uri-user": {"user": "uri-user", "hosts": ("host",), "ports": (12345,)},
    "postgresql://host?": {"hosts": ("host",)},
    "postgresql://[::1]:12345/db": {"hosts": ("::1",), "ports": (12345,), "database": "db"},
    "postgresql://[2001:db8::1234]/": {"hosts": ("2001:db8::1234",)},
    "postgresql://[::1]": {"hosts": ("::1",)},
    "postgres://": {},
    "postgres:///": {},
    "postgres:///db": {"database": "db"},
    "postgres://uri-user@/db": {"user": "uri-user", "database": "db"},
    "postgres://?host=/path/to/socket/dir": {"hosts": ("/path/to/socket/dir",)},
    "postgres://@host": {"hosts": ("host",)},
    "postgres://host:/": {"hosts": ("host",)},
    "postgres://:12345/": {"ports": (12345,)},
    "postgres://otheruser@?host=/no/such/directory": {"user": "otheruser", "hosts": ("/no/such/directory",)},
    "postgres://otheruser@:12345/db?host=/path/to/socket": {
        "user": "otheruser",
        "hosts": ("/path/to/socket",),
        "ports": (12345,),
        "database": "db",
    },
    "postgres://:12345?host=/path/to/socket": {"hosts": ("/path/to/socket",), "ports": (12345,)},
    "postgres://%2Fvar%2Flib%2Fpostgresql/dbname": {"hosts": ("/var/lib/postgresql",), "database": "dbname"},
    "postgresql://host?sslmode=verify-full": {"hosts": ("host",), "driver": {"sslmode": "verify-full"}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "postgresql+asyncpg://u@host/db": {"user": "u", "hosts": ("host",), "database": "db"},
    "  postgresql://host/db\n": {"hosts": ("host",), "database": "db"},
    "postgresql://u:@host": {"user": "u", "hosts": ("host",)},
    "postgresql://u:p:q@host": {"user": "u", "password": Secret("p:q"), "hosts": ("host",)},
    "postgresql://u:p@q@host": {"user": "u", "password": Secret("p@q"), "hosts": ("host",)},
    "postgresql://host?user=u&password=p%26q": {"user": "u", "password": Secret("p&q"), "hosts": ("host",)},
    "postgresql://host?password=": {"hosts": ("host",)},
    "postgresql://u:p@host?user=&password=": {"hosts": ("host",)},
    "postgresql://h1:1,h2:2/db": {"hosts": ("h1", "h2"), "ports": (1, 2), "database": "db"},
    "postgresql://h1,h2/db": {"hosts": ("h1", "h2"), "database": "db"},
    "postgresql://h1:1,h2": {"hosts": ("h1", "h2"), "ports": (1, 5432)},
    "postgresql://h1,h2?port=7": {"hosts": ("h1", "h2"), "ports": (7,)},
    "postgresql://?host=h1,h2&port=1,2": {"hosts": ("h1", "h2"), "ports": (1, 2)},
    "postgresql://[::1]:1,[::2]:2": {"hosts": ("::1", "::2"), "ports": (1, 2)},
    "postgresql://%2Fsocket:7,host:8": {"hosts": ("/socket", "host"), "ports": (7, 8)},
    "postgresql://host?host=other": {"hosts": ("other",)},
    "postgresql://host?host=&port=": {},
    "postgresql://host/db?dbname=other": {"hosts": ("host",), "database": "other"},
    "postgresql://host/db?database=other": {"hosts": ("host",), "database": "other"},
    "embedded:///srv/pg": {"embedded": "/srv/pg"},
    "embedded:///srv/my%20pg": {"embedded": "/srv/my pg"},
}


@pytest.mark.parametrize(("text", "fields"), [*LIBPQ.items(), *OTHERS.items()])
def test_what_a_url_means(text: str, fields: dict[str, Any]) -> None:
    assert parse_url(text) == DatabaseUrl(**fields)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("sslmode=require", {"driver": {"sslmode": "require"}}),
        ("ssl=true", {"driver": {"sslmode": "require"}}),
        ("ssl=verify-ca", {"driver": {"sslmode": "verify-ca"}}),
        ("sslmode=disable&ssl=require", {"driver": {"sslmode": "disable"}}),
        ("sslrootcert=/ca.pem&sslcert=/c.pem", {"driver": {"sslrootcert": "/ca.pem", "sslcert": "/c.pem"}}),
        ("sslrootcert=system", {"driver": {"sslrootcert": "system", "sslmode": "verify-full"}}),
        ("target_session_attrs=read-write", {"driver": {"target_session_attrs": "read-write"}}),
        ("application_name=mine", {"session": {"application_name": "mine"}}),
        ("fallback_application_name=mine", {"session": {"application_name": "mine"}}),
        ("fallback_application_name=a&application_name=b", {"session": {"application_name": "b"}}),
        ("options=-c%20geqo%3Doff", {"session": {"options": "-c geqo=off"}}),
        ("search_path=a,b&timezone=UTC", {"session": {"search_path": "a,b", "TimeZone": "UTC"}}),
        ("statement_timeout=5s&lock_timeout=1s", {"session": {"statement_timeout": "5s", "lock_timeout": "1s"}}),
        ("connect_timeout=7", {"connect_timeout": timedelta(seconds=7)}),
        ("connect_timeout=0", {}),
        ("keepalives=1&keepalives_idle=30", {"socket": {"keepalives": 1, "keepalives_idle": 30}}),
        ("tcp_user_timeout=1000", {"socket": {"tcp_user_timeout": 1000}}),
        ("load_balance_hosts=random", {"shuffle_hosts": True}),
        ("load_balance_hosts=disable", {}),
        ("channel_binding=prefer&gssencmode=disable&sslsni=1", {}),
        ("client_encoding=UTF8", {}),
        ("&&", {}),
    ],
)
def test_where_each_kind_of_parameter_goes(query: str, fields: dict[str, Any]) -> None:
    assert parse_url(f"postgresql://host?{query}") == DatabaseUrl(hosts=("host",), **fields)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("hostaddr=127.0.0.1", "hostaddr"),
        ("requirepeer=postgres", "requirepeer"),
        ("replication=database", "replication"),
        ("channel_binding=require", "channel_binding"),
        ("gssencmode=require", "gssencmode"),
        ("client_encoding=latin1", "client_encoding"),
        ("sslcertmode=require", "sslcertmode"),
    ],
)
def test_what_only_libpq_can_do_is_refused_by_name(query: str, name: str) -> None:
    assert f"its parameter {name} " in refusal(f"postgresql://host?{query}")
    assert "libpq" in refusal(f"postgresql://host?{query}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with postgresql://"),
        ("host=localhost dbname=db", "does not begin with postgresql://"),
        ("postgresql:host", "does not begin with postgresql://"),
        ("'postgresql://host/db'", "stands in quotes"),
        ('"postgresql://host/db"', "stands in quotes"),
        ("postgre://host", "its scheme is unknown"),
        ("mysql://host", "its scheme is unknown"),
        ("PostgreSQL://host", "its scheme is unknown"),
        ("postgres://[::1", "a ':' or '[' too many"),
        ("postgres://[]", "a ':' or '[' too many"),
        ("postgres://[::1]z", "a ':' or '[' too many"),
        ("postgres://::1/db", "no number from 1 to 65535"),
        ("postgres://h1,,h2", "a host in it is empty"),
        ("postgres://?host=h1,", "a host in it is empty"),
        ("postgres://ho st/db", "has a blank or '@' in it"),
        ("postgres://host:0", "no number from 1 to 65535"),
        ("postgres://host:65536", "no number from 1 to 65535"),
        ("postgres://host:54x", "no number from 1 to 65535"),
        ("postgres://host:\N{ARABIC-INDIC DIGIT FIVE}", "no number from 1 to 65535"),
        ("postgres://host?port=x", "no number from 1 to 65535"),
        ("postgres://h1,h2?port=1,2,3", "it names 2 hosts, but 3 ports"),
        ("postgres://h1,h2,h3?port=1,2", "it names 3 hosts, but 2 ports"),
        ("postgres://u:p/q@host/db", "percent-encode it there"),
        ("postgres://u:p#q@host/db", "there is a '#' in it"),
        ("postgres://host/a/b", "the database name has a '/' or '@' in it"),
        ("postgresql://host?zzz", "a parameter behind the '?' has no '='"),
        ("postgresql://host?uzer=x", "a parameter behind the '?' is unknown; did you mean user?"),
        ("postgresql://host?ssl_mode=x", "did you mean sslmode?"),
        ("postgresql://host?geqo=off", "is unknown; settings of the server go into options="),
        ("postgresql://host?sslmode=maybe", "sslmode must be one of disable, allow, prefer"),
        ("postgresql://host?ssl_min_protocol_version=1.2", "ssl_min_protocol_version must be one of TLSv1, TLSv1.1"),
        ("postgresql://host?target_session_attrs=best", "target_session_attrs must be one of any"),
        ("postgresql://host?connect_timeout=5s", "connect_timeout must be a whole number"),
        ("postgresql://host?keepalives_idle=-1", "keepalives_idle must be a whole number"),
        ("postgresql://host?keepalives_idle=40000", "keepalives_idle must be a whole number up to 32767"),
        ("postgresql://u:\udcff@host", "bytes in it that are not UTF-8"),
        ("postgresql://host?sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        ("postgres://host?dbname=%XXfoo", "not followed by two hexadecimal digits"),
        ("postgresql://a%00b", "there is a NUL"),
        ("postgresql://%1", "not followed by two hexadecimal digits"),
        ("postgresql://u:100%@host", "write a plain '%' as %25"),
        ("postgresql://u:%ff@host", "not UTF-8"),
        ("embedded://", "absolute folder"),
        ("embedded:///", "absolute folder"),
        ("embedded://relative/folder", "absolute folder"),
        ("embedded:///srv/pg?sslmode=require", "nothing else"),
    ],
)
def test_a_malformed_url_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert reason in refusal(text)


@pytest.mark.parametrize("character", list("/#?@:%&=+ ,[]\\'\"é€𝄞"))
def test_each_special_character_can_be_quoted(character: str) -> None:
    name = f"a{character}b"
    quoted = quote(name, safe="")
    url = parse_url(f"postgresql://{quoted}:{quoted}@host/{quoted}")
    assert url == DatabaseUrl(("host",), (), name, Secret(name), name)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(user=NAMES, password=NAMES, database=NAMES)
def test_quoting_carries_any_login_through(user: str, password: str, database: str) -> None:
    authority = f"{quote(user, safe='')}:{quote(password, safe='')}@host:5433/{quote(database, safe='')}"
    as_parameters = f"user={quote(user, safe='')}&password={quote(password, safe='')}&dbname={quote(database, safe='')}"
    for text in (f"postgresql://{authority}", f"postgresql://host:5433?{as_parameters}"):
        assert parse_url(text) == DatabaseUrl(("host",), (5433,), user, Secret(password), database)


@given(user=NAMES, database=NAMES)
def test_what_is_printed_means_the_same_but_for_the_password(user: str, database: str) -> None:
    url = DatabaseUrl(("host", "::1", "/socket"), (1, 2, 3), user, Secret("x"), database)
    assert parse_url(str(url)) == DatabaseUrl(url.hosts, url.ports, user, Secret(MASK), database)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://u:secret@host:5433/db?sslmode=require", "postgresql://u:***@host:5433/db"),
        ("postgres://host", "postgresql://host/"),
        ("postgres://u@h1,h2/db", "postgresql://u@h1,h2/db"),
        ("postgres://h1,h2?port=7", "postgresql://h1:7,h2:7/"),
        ("postgres://[::1]:7/db", "postgresql://[::1]:7/db"),
        ("postgres:///db?host=/run/pg", "postgresql://%2Frun%2Fpg/db"),
        ("postgres://:7/db", "postgresql://:7/db"),
        ("postgres://:secret@host", "postgresql://:***@host/"),
        ("embedded:///srv/pg", "embedded:///srv/pg"),
    ],
)
def test_how_a_url_is_shown(text: str, shown: str) -> None:
    assert str(parse_url(text)) == shown
    assert repr(parse_url(text)) == f"DatabaseUrl('{shown}')"


CANARY_URLS = [f"postgresql://u:{CANARY}@host/db", f"postgresql://host/db?user=u&password={CANARY}"]


@pytest.mark.parametrize("text", CANARY_URLS)
@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r}".format, lambda url: f"{[url]}"])
def test_no_text_made_of_it_shows_the_password(text: str, show: Callable[[DatabaseUrl], str]) -> None:
    shown = show(parse_url(text))
    assert CANARY not in shown
    assert "host" in shown


@pytest.mark.parametrize("text", CANARY_URLS)
def test_a_url_with_a_password_is_not_pickled(text: str) -> None:
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(parse_url(text))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_keeps_the_password_and_hides_it(duplicate: Callable[[DatabaseUrl], DatabaseUrl]) -> None:
    url = parse_url(CANARY_URLS[0])
    assert duplicate(url) == url
    assert CANARY not in repr(duplicate(url))


# Mutations keep the canary whole: what is left of a password that was cut apart is for nobody to recognise.
BASES = st.sampled_from(
    [
        "postgresql://user:{}@host:5432/db?sslmode=require",
        "postgres://user:x{}x@h1:1,h2:2/db",
        "postgresql://host/db?user=u&password={}&connect_timeout=5",
        "postgresql+asyncpg://:{}@[::1]:5432",
        "embedded:///srv?password={}",
        "user:{}@host",
    ]
)
NOISE = st.text(st.sampled_from("/?#@:&=%,[]+ \\'\"0123456789ax\0é"), max_size=4)


@given(BASES, st.lists(st.tuples(st.integers(0, 60), NOISE, st.integers(0, 3)), max_size=4), NOISE, NOISE)
@example("postgresql://user:{}", [], "12?", "=1@host/db")
@example("postgresql://user:{}", [], "?", "=1@host/db")
@example("postgresql://user:{}@host", [], "p@ss?", "=1")
@example("postgresql://host?password={}", [], "x&", "=1")
@example("postgresql://host?password={}", [], "x&sslmode=", "")
@example("postgresql://user:{}@host", [], "", "/")
@example("postgresql://user:{}@host", [], "", "#")
@example("postgresql://user:{}@host", [], "%", "")
@example("postgresql://user:{}", [], "", "")
@example("{}://user@host", [], "", "")
def test_no_refusal_repeats_a_password(base: str, edits: list[tuple[int, str, int]], before: str, behind: str) -> None:
    head, tail = base.split("{}")
    for position, noise, cut in edits:
        if position <= len(head):
            head = head[:position] + noise + head[position + cut :]
        else:
            position -= len(head)  # noqa: PLW2901 - counted from where the canary ends
            tail = tail[:position] + noise + tail[position + cut :]
    try:
        parse_url(f"{head}{before}{CANARY}{behind}{tail}")
    except UrlError as error:
        refused = error
    else:
        return
    assert CANARY.lower() not in str(refused).lower()
    assert refused.__cause__ is None


@given(st.text(string.printable + "é\0", max_size=60), st.sampled_from(["", "postgresql://", "postgresql://u:p@h?"]))
def test_any_text_is_read_or_refused(text: str, scheme: str) -> None:
    try:
        url = parse_url(scheme + text)
    except UrlError:
        return
    assert isinstance(str(url), str)
