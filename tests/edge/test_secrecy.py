"""A password that must never be seen, over every way to fail."""

import asyncio
import logging
import pickle
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import anyio
import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbinit import DbInitError, Initializer, SettingsError
from dbinit.diagnosis import diagnose
from dbinit.settings import InitOptions
from tests.kit.network import dead_port, silent_peer
from tests.kit.patience import eventually, eventually_async
from tests.kit.process import dbinit, finished, run_dbinit
from tests.kit.server import PASSWORD, Server
from tests.kit.service import serving
from tests.kit.starts import options

Write = Callable[[str], Path]
GOOD = "CREATE TABLE item ();"
FORMS = {PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), quote_plus(PASSWORD), repr(PASSWORD)[1:-1]}
PARTS = {"s3cret", "canary"}
QUICK = {"DB_RETRY_ATTEMPTS": "2", "DB_RETRY_DELAY": "50ms", "DBINIT_CONNECT_TIMEOUT": "500ms", "DBINIT_SENTINEL": ""}


def assert_clean(text: str) -> None:
    seen = {form for form in FORMS | PARTS if form.lower() in text.lower()}
    assert not seen, text


# URLs that nobody should write, and everybody does ----------------------------------------------------

UNESCAPED = [
    f"postgresql://postgres:{PASSWORD}@127.0.0.1:5432/x",
    f"postgresql://postgres:{PASSWORD}@127.0.0.1/x?sslmode=disable",
    "postgresql://postgres:s3cret#canary@127.0.0.1/x",
    "postgresql://postgres:s3cret/canary@127.0.0.1/x",
    "postgresql://postgres:s3cret%canary@127.0.0.1/x",
    "postgresql://postgres:s3cret?canary@127.0.0.1/x",
    "postgresql://postgres:s3cret?canary=1@127.0.0.1/x",
    "postgresql://postgres:p@s3cret?canary=1@127.0.0.1/x",
    "postgresql://postgres:p@s3cret/canary@127.0.0.1/x",
    "postgresql://postgres:p@s3cret#canary@127.0.0.1/x",
    "postgresql://postgres:p@s3cret:canary@127.0.0.1/x",
    "postgresql://postgres:p@s3cret&canary=1@/x",
    "postgresql://postgres:s3cret canary@[127.0.0.1/x",
    "postgresql://postgres:[s3cret:canary@127.0.0.1:port/x",
    "postgresql://postgres@127.0.0.1:s3cret/canary",
    "postgresql://127.0.0.1/x?password=s3cret&canary=1",
    "postgresql://127.0.0.1/x?password=s3cret#canary&&",
    "postgresql://127.0.0.1/x?s3cret=canary",
    "postgresql://127.0.0.1/x?s3cretcanary",
    "postgresql://127.0.0.1/x?sslmode=s3cret",
    "postgresql://127.0.0.1/x?connect_timeout=s3cret",
    "s3cret/canary",
    "s3cret://canary",
    "postgres:s3cret/canary@127.0.0.1",
    "embedded://s3cret?canary",
]


@pytest.mark.parametrize("url", UNESCAPED)
def test_a_malformed_url_is_not_repeated(url: str) -> None:
    assert_kept(lambda: InitOptions(database_url=url))


def assert_kept(read: Callable[[], InitOptions]) -> None:
    try:
        chosen = read()
    except SettingsError as error:
        assert_clean(f"{error} {error!r} {error.problems} {in_chain(error)}")
    else:  # it can be read, if not as it was meant
        failures = [diagnose(error, url) for error in FAILURES for url in (chosen.url, chosen.migrating_url)]
        assert_clean(f"{chosen} {chosen!r} {failures} {[str(error) for error in failures]}")


FAILURES = [
    OSError(111, "Connection refused"),
    TimeoutError(),
    ConnectionError("unexpected connection_lost() call"),
    ssl.SSLError(1, "wrong version number"),
    asyncpg.InvalidPasswordError("password authentication failed"),
    asyncpg.CannotConnectNowError("the database system is starting up"),
]
JUNK = st.text("/#?@:%&=[]+;,!$|\\'\"\n\t \u00e4", max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.builds("{}s3cret{}canary{}".format, JUNK, JUNK, JUNK), st.data())
def test_no_password_comes_out_of_a_url_however_it_is_written(password: str, data: st.DataObject) -> None:
    before = data.draw(
        st.sampled_from(["postgresql://u:", "postgres://:", "postgresql+asyncpg://u:", "postgresql:/u:"])
    )
    behind = data.draw(
        st.sampled_from(["@h/x", "@h:5432/x?sslmode=require", "@h,i:1/x", "@/x?host=/run", "@", "@h:x/"])
    )
    url = before + password + behind

    assert_kept(lambda: InitOptions(database_url=url))
    assert_kept(lambda: InitOptions(database_url="postgresql://u@h/x", migration_url=url))
    assert_kept(lambda: InitOptions.from_env({"DATABASE_URL": url, "DBINIT_MIGRATION_URL_FILE": url}))
    assert_kept(lambda: InitOptions.from_env({"DATABASE_URL": "", "DBINIT_MIGRATION_URL": url, "DBINIT_JOBS": "x"}))


def in_chain(error: BaseException | None) -> list[str]:
    """Return what can be read off an error and the errors behind it."""
    found = []
    while error is not None:
        found += [str(error), repr(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(
    "arguments", [["{url}"], ["wait", "{url}"], ["--database={url}"], ["wait", "--timeout", "{url}"]]
)
def test_a_url_in_the_wrong_place_of_the_command_line_is_not_repeated(arguments: list[str]) -> None:
    end = run_dbinit(*(word.format(url=f"postgresql://u:{PASSWORD} x@h/x") for word in arguments))

    assert end.code == 2
    assert_clean(end.said)


def test_a_url_instead_of_its_files_name_is_not_repeated() -> None:
    assert_clean(run_dbinit(env={"DATABASE_URL_FILE": f"postgresql://u:{PASSWORD}@h/x"}).said)


# The command line -------------------------------------------------------------------------------------

SECRETIVE_SCRIPTS = {
    "in a line": f"CREATE ROLE x PASSWORD '{PASSWORD}' VALID UNTIL 'nonsense';",
    "in the next line": f"CREATE ROLE x PASSWORD\n  '{PASSWORD}' nonsense;",
    "unclosed": f"CREATE ROLE x PASSWORD '{PASSWORD};\n",
}


@contextmanager
def failing(way: str, server: Server, database: str) -> Iterator[dict[str, str]]:
    """Yield settings of a start that fails in this way."""
    url = server.url(database)
    with silent_peer() as silent:
        here = f":{server.port}/"
        urls = {
            "wrong password": server.url(database, password=f"{PASSWORD}!"),
            "wrong user": server.url(database, user="nobody"),
            "missing database": server.url("missing"),
            "dead host": url.replace(here, f":{dead_port()}/"),
            "silent host": url.replace(here, f":{silent}/"),
            "unknown host": url.replace("127.0.0.1", "nowhere.invalid"),
            "no TLS": f"{url}?sslmode=require",
            "no certificate": f"{url}?sslmode=verify-full&sslrootcert=/missing.pem",
            "unknown setting": f"{url}?options=-c%20nonsense%3D1",
            "malformed": f"postgresql://postgres:{PASSWORD}@127.0.0.1/x",
        }
        yield {**QUICK, "DATABASE_URL": urls[way]}


WAYS = [
    "wrong password",
    "wrong user",
    "missing database",
    "dead host",
    "silent host",
    "unknown host",
    "no TLS",
    "no certificate",
    "unknown setting",
    "malformed",
]


@pytest.mark.parametrize("way", WAYS)
def test_a_database_that_cannot_be_reached(way: str, server: Server, database: str, write: Write) -> None:
    with failing(way, server, database) as env:
        ends = [
            run_dbinit(env={**env, "MIGRATION_PATH": str(write(GOOD))}),
            run_dbinit("status", "--json", env={**env, "MIGRATION_PATH": str(write(GOOD))}),
        ]
        if way in {"wrong password", "malformed"}:
            ends.append(run_dbinit("wait", "-q", "--timeout", "300ms", env=env))

    for end in ends:
        assert end.code in {2, 3}
        assert_clean(end.said)


@pytest.mark.parametrize("script", [GOOD, "SELECT wrong", *SECRETIVE_SCRIPTS.values()])
def test_a_script(script: str, database_url: str, write: Write) -> None:
    env = {**QUICK, "DATABASE_URL": database_url, "MIGRATION_PATH": str(write(script))}

    for arguments in ([], ["--json"], ["status"]):
        assert_clean(run_dbinit(*arguments, env=env).said)


async def test_a_connection_that_is_cut(connection: asyncpg.Connection, database_url: str, write: Write) -> None:
    busy = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    env = {**QUICK, "DATABASE_URL": database_url, "MIGRATION_PATH": str(write("SELECT pg_sleep(60)"))}
    with dbinit(env=env) as process:

        async def is_given_up() -> bool:
            await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({busy}) AS found")
            return process.popen.poll() is not None

        await eventually_async(is_given_up)
        end = finished(process)

    assert end.code == 3
    assert_clean(end.said)


async def test_another_starter_that_is_waited_for(
    connection: asyncpg.Connection, database: str, database_url: str, write: Write
) -> None:
    secretive = f"SELECT pg_sleep(60); CREATE ROLE r_{database} PASSWORD '{PASSWORD}';"
    env = {**QUICK, "DATABASE_URL": database_url, "MIGRATION_PATH": str(write(secretive))}

    async def is_asleep() -> bool:
        found = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        return bool(await connection.fetchval(found))

    with dbinit(env=env) as first:
        await eventually_async(is_asleep)
        end = await anyio.to_thread.run_sync(lambda: run_dbinit(env={**env, "DBINIT_LOCK_WAIT": "300ms"}))
        assert_clean(first.err)

    assert end.code == 5
    assert_clean(end.said)


# The service ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["background", "blocking", "verify"])
def test_a_service_that_fails(mode: str, server: Server, database: str, write: Write, tmp_path: Path) -> None:
    with failing("wrong password", server, database) as env:
        chosen = {**env, "MIGRATION_PATH": str(write(GOOD)), "DBINIT_MODE": mode, "DBINIT_ON_FAILURE": "stay"}
        with serving(tmp_path, chosen, "--log-level", "trace", health={"details": True}) as service:
            eventually(lambda: service.get("/healthz").json()["status"] == "failed")
            for path in ("/healthz", "/readyz", "/livez", "/items", "/state"):
                answer = service.get(path)
                assert_clean(f"{answer.text} {answer.headers}")
            assert_clean(service.process.err + service.process.out)


def test_a_service_with_a_malformed_url(tmp_path: Path) -> None:
    env = {"DATABASE_URL": f"postgresql://postgres:{PASSWORD}@127.0.0.1/x"}
    with serving(tmp_path, env) as service:
        assert_clean(finished(service.process).said)


# Within this process ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["works", *WAYS])
def test_errors_logs_and_representations(
    way: str, server: Server, database: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[object] = []
    with failing("dead host" if way == "works" else way, server, database) as env:
        url = server.url(database) if way == "works" else env["DATABASE_URL"]
        try:
            chosen = options(url, write(GOOD), connect_timeout="500ms")
            initializer = Initializer(chosen, observer=seen.append)
            seen += [chosen, chosen.url, chosen.url.password, initializer]
            # In debug mode, asyncio tells of every slow step and the coroutine that took it.
            asyncio.run(run(initializer), debug=True)
        except DbInitError as error:
            seen += in_chain(error)

    assert_clean(f"{[(str(item), repr(item), f'{item}') for item in seen]} {caplog.text}")


async def run(initializer: Initializer) -> None:
    async with initializer:
        pass


def test_a_password_is_not_pickled_in_the_clear(server: Server, tmp_path: Path) -> None:
    chosen: Any = options(server.url(), tmp_path)

    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(chosen)
