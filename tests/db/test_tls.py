"""TLS with a real handshake: what verify-full is worth, and what is said about anything less."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
import trustme

from dbinit import Initializer, Outcome, TlsError
from tests.kit.process import run_dbinit
from tests.kit.server import PASSWORD, Server
from tests.kit.starts import initialize, options
from tests.kit.tls import Front, own_address, tls_in_front, written

SCRIPT = "CREATE TABLE item ();"


class Site(NamedTuple):
    """A database to be reached by TLS, and who signs the certificates for that."""

    server: Server
    database: str
    authority: trustme.CA
    folder: Path

    @property
    def script(self) -> Path:
        path = self.folder / "init-db.sql"
        path.write_text(SCRIPT)
        return path

    def front(
        self, certificate: trustme.LeafCert | None, host: str = "127.0.0.1", clients: trustme.CA | None = None
    ) -> AbstractAsyncContextManager[Front]:
        return tls_in_front(self.server.port, certificate, host, clients)

    def url(self, front: Front, parameters: str = "sslmode=verify-full&sslrootcert={ca}", host: str = "") -> str:
        where = f"@{host or front.host}:{front.port}/"
        plain = self.server.url(self.database).replace(f"@127.0.0.1:{self.server.port}/", where)
        return f"{plain}?{parameters.format(ca=written(self.authority, self.folder))}"


@pytest.fixture
def site(server: Server, database: str, tmp_path: Path) -> Site:
    return Site(server, database, trustme.CA(), tmp_path)


async def test_verify_full_reaches_the_server_whose_certificate_it_is(site: Site) -> None:
    async with site.front(site.authority.issue_cert("localhost")) as front:
        url = site.url(front, host="localhost")
        report = await initialize(url, site.script)

    assert report.outcome is Outcome.APPLIED
    assert front.encrypted == front.accepted > 0


async def test_the_systems_certificates_go_with_one_of_our_own(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = site.folder / "client.pem"
    site.authority.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(ours)
    monkeypatch.setenv("SSL_CERT_FILE", str(written(site.authority, site.folder)))
    async with site.front(site.authority.issue_cert("localhost"), clients=site.authority) as front:
        query = f"sslrootcert=system&sslcert={ours}&sslkey={ours}&sslnegotiation=postgres"
        query += "&ssl_min_protocol_version=TLSv1.3"
        report = await initialize(site.url(front, query, host="localhost"), site.script)

    assert report.outcome is Outcome.APPLIED
    assert front.encrypted == front.accepted > 0


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("name", ("Hostname mismatch", "use the host name that the server's certificate was made for")),
        ("authority", ("unable to get local issuer certificate", "sslrootcert=/path/to/ca.pem")),
        ("time", ("certificate has expired", "renew the server's certificate")),
    ],
)
async def test_a_certificate_that_is_wrong_is_one_clear_error_and_not_tried_again(
    mistake: str,
    said: tuple[str, str],
    site: Site,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    signer = trustme.CA() if mistake == "authority" else site.authority
    name = "db.example.com" if mistake == "name" else "localhost"
    end = datetime.now(UTC) - timedelta(days=1) if mistake == "time" else None
    start = end - timedelta(days=1) if end else None
    certificate = signer.issue_cert(name, not_before=start, not_after=end)

    async with site.front(certificate) as front:
        url = site.url(front, host="localhost")
        with pytest.raises(TlsError) as caught:
            await initialize(url, site.script, retry_attempts=5)

    assert said[0] in caught.value.message
    assert caught.value.message.count("\n") == 0
    assert said[1] in caught.value.advice
    assert (front.accepted, front.encrypted) == (1, 0)
    assert "failed" not in caplog.text
    assert PASSWORD not in f"{caught.value} {caplog.text}"


async def test_the_command_line_says_once_that_a_certificate_is_wrong(site: Site) -> None:
    async with site.front(trustme.CA().issue_cert("localhost")) as front:
        url = site.url(front, host="localhost")
        end = await anyio.to_thread.run_sync(
            lambda: run_dbinit(env={"DATABASE_URL": url, "MIGRATION_PATH": str(site.script)})
        )

    assert end.code == 3
    assert end.said.count("no TLS connection") == 1
    assert PASSWORD not in end.said


# What less is worth -----------------------------------------------------------------------------------


@asynccontextmanager
async def used(url: str, script: Path) -> AsyncIterator[None]:
    """Use all ways to the database: the start, the pool and the probes."""
    initializer = Initializer(options(url, script))
    try:
        await initializer.initialize()
        await initializer.verify()
        await initializer.ping(5)
        async with initializer.pool() as pool, pool.acquire() as one, pool.acquire() as other:
            assert await one.fetchval("SELECT 1") == await other.fetchval("SELECT 1") == 1
            yield
    finally:
        await initializer.close()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("sslmode=disable", "is not encrypted"),
        ("application_name=test", "is not encrypted"),
        ("sslmode=require", "is encrypted, but the server's certificate is not verified"),
        ("sslmode=verify-ca&sslrootcert={ca}", "is encrypted, but the server's certificate may be for any host"),
        ("sslmode=verify-full&sslrootcert={ca}", ""),
    ],
)
async def test_what_is_weaker_than_verify_full_to_another_host_is_said_once(
    parameters: str,
    said: str,
    site: Site,
    caplog: pytest.LogCaptureFixture,
) -> None:
    address = own_address()
    certificate = site.authority.issue_cert(address) if "sslmode" in parameters else None
    async with site.front(certificate, address) as front:
        url = site.url(front, parameters)
        async with used(url, site.script):
            warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    assert len(warnings) == bool(said)
    for warning in warnings:
        assert f"{front.host}:{front.port}" in warning
        assert f"{said}: set sslmode=verify-full in DATABASE_URL" in warning
        assert PASSWORD not in warning


@pytest.mark.parametrize("way", ["localhost", "127.0.0.1", "a Unix socket"])
async def test_nothing_is_said_about_a_server_on_this_machine(
    way: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    url = site.server.url(site.database).replace("127.0.0.1", way)
    if way == "a Unix socket":
        url = f"postgresql://postgres@/{site.database}?host={site.server.folder}&port={site.server.port}"
    async with used(url, site.script):
        pass

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
