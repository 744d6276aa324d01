"""The container files, without a container engine: parsed, and every command in them run that can run."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
import yaml

from dbinit.durations import parse_duration
from dbinit.errors import ExitCode
from dbinit.settings import KNOWN_VARIABLES, InitOptions
from tests.kit.patience import eventually
from tests.kit.process import ROOT, environment, running

KUBERNETES = ROOT / "deploy" / "kubernetes"
README = (KUBERNETES / "README.md").read_text()
DEPLOYMENTS = ("deployment.yaml", "init-container.yaml")
MANIFESTS = (*DEPLOYMENTS, "job.yaml")
LONGEST_SQL = 180  # seconds; what the manifests say they make room for
SIGNALS = {128 + signal.SIGINT, 128 + signal.SIGTERM}
PASSWORD = "only-for-this-test"  # noqa: S105 - of roles that the test creates

Document = dict[str, Any]


# Reading the files --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    keyword: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments, from the exec form or from the shell form."""
        value = yaml.safe_load(self.text) if self.text.startswith("[") else shlex.split(self.text)
        return [str(word) for word in value]


def read_dockerfile() -> list[Instruction]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    instructions = []
    for line in filter(str.strip, re.sub(r"\\\n\s*", "", text).splitlines()):
        keyword, _, rest = line.partition(" ")
        flags = []
        while match := re.match(r"(--\S+)\s+", rest):
            flags.append(match[1])
            rest = rest[match.end() :]
        instructions.append(Instruction(keyword, tuple(flags), rest))
    return instructions


def last(keyword: str) -> Instruction:
    return [instruction for instruction in read_dockerfile() if instruction.keyword == keyword][-1]


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in last("ENV").words)


def healthcheck() -> list[str]:
    text = last("HEALTHCHECK").text.removeprefix("CMD ")
    return [str(word) for word in yaml.safe_load(text)]


def in_build_context(path: str) -> bool:
    """Tell whether .dockerignore lets a path through: the last pattern that fits it or a parent decides."""
    kept = True
    for pattern in filter(None, (ROOT / ".dockerignore").read_text().splitlines()):
        if pattern.startswith("#"):
            continue
        name = pattern.removeprefix("!")
        if any(parent.match(name.removeprefix("**/")) for parent in (Path(path), *Path(path).parents)):
            kept = pattern.startswith("!")
    return kept


def compose() -> Document:
    document: Document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def manifests(name: str) -> list[Document]:
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def workload(name: str) -> Document:
    return next(document for document in manifests(name) if document["kind"] != "Service")


def pod(name: str) -> Document:
    spec: Document = workload(name)["spec"]["template"]["spec"]
    return spec


def containers(name: str) -> list[Document]:
    return [*pod(name).get("initContainers", []), *pod(name)["containers"]]


def variables_of(container: Document) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def options(variables: Mapping[str, str]) -> InitOptions:
    """Read settings as the container would; only the secret's content is made up."""
    return InitOptions.from_env(variables, read_text=lambda _: "postgresql://user@db.example.com/muse_ai")


def longest_start(variables: Mapping[str, str]) -> float:
    settings = options(variables)
    return (settings.connect_deadline + settings.lock_wait).total_seconds() + LONGEST_SQL


def budget(probe: Document) -> int:
    return int(probe["failureThreshold"]) * int(probe["periodSeconds"])


# Running what is in them --------------------------------------------------------------------------


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a container file; `python` is the one that runs the tests."""
    assert command[0] == "python"
    return subprocess.run(
        [sys.executable, *command[1:]],
        cwd=ROOT,
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def probe(port: int, **variables: str) -> int:
    return run([word.replace("8000", str(port)) for word in healthcheck()], **variables).returncode


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Serve one status on every path, and yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))


# The Dockerfile -----------------------------------------------------------------------------------


def test_every_stage_has_the_same_pinned_base() -> None:
    arguments = dict(line.text.split("=", 1) for line in read_dockerfile() if line.keyword == "ARG")
    bases = {
        re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], line.words[0])
        for line in read_dockerfile()
        if line.keyword == "FROM"
    }
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", bases.pop())


def test_the_image_runs_as_an_unprivileged_number() -> None:
    user, group = last("USER").text.split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    accounts = next(line.text for line in read_dockerfile() if "useradd" in line.text)
    assert f"--uid {user}" in accounts
    keywords = [line.keyword for line in read_dockerfile()]
    assert "RUN" not in keywords[keywords.index("USER") :]


def test_what_is_copied_exists_and_is_in_the_build_context() -> None:
    copies = [line for line in read_dockerfile() if line.keyword == "COPY" and not line.flags]
    sources = [source for line in copies for source in line.words[:-1]]
    assert {"app", "dbinit", "scripts"} <= set(sources)
    for source in sources:
        path = ROOT / source
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        assert any(file.exists() and in_build_context(str(file.relative_to(ROOT))) for file in files), source


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", "run.url", "scripts/test", "tests/conftest.py", "app/__pycache__/main.pyc"],
)
def test_what_is_not_needed_stays_out_of_the_build_context(path: str) -> None:
    assert not in_build_context(path)


def test_the_image_settings_are_known_and_name_a_file_that_is_in_it() -> None:
    variables = image_environment()
    assert {name for name in variables if not name.startswith(("PATH", "PYTHON"))} <= KNOWN_VARIABLES
    inside = Path(variables["MIGRATION_PATH"]).relative_to(last("WORKDIR").text)
    assert (ROOT / inside).is_file()
    assert in_build_context(str(inside))


def test_the_healthcheck_tells_ready_from_unready() -> None:
    with answering(200) as port:
        assert probe(port) == 0
    with answering(503) as port:
        assert probe(port) == 1


def test_the_healthcheck_asks_no_proxy() -> None:
    with answering(503) as port, answering(200) as proxy:
        assert probe(port, http_proxy=f"http://127.0.0.1:{proxy}") == 1


def test_the_healthcheck_fails_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert probe(taken.getsockname()[1]) == 1


def test_the_healthcheck_gives_up_on_a_silent_server_before_docker_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert probe(silent.getsockname()[1]) == 1
    limit = next(flag for flag in last("HEALTHCHECK").flags if flag.startswith("--timeout="))
    assert time.monotonic() - began < parse_duration(limit.partition("=")[2]).total_seconds()


def test_the_healthcheck_waits_for_the_longest_start() -> None:
    flag = next(flag for flag in last("HEALTHCHECK").flags if flag.startswith("--start-period="))
    start = parse_duration(flag.partition("=")[2])
    assert start > timedelta(seconds=longest_start({"DATABASE_URL_FILE": "url"}))


@pytest.mark.anyio
async def test_the_image_serves_becomes_healthy_and_stops(database_url: str, tmp_path: Path) -> None:
    for line in read_dockerfile():
        if line.keyword == "COPY" and line.words[0] in {"app", "scripts"}:
            shutil.copytree(ROOT / line.words[0], tmp_path / line.words[-1])
    replaced = {"0.0.0.0": "127.0.0.1", "8000": "0"}  # noqa: S104 - replaced by loopback and a free port
    command = [sys.executable, "-m", *(replaced.get(word, word) for word in last("CMD").words)]
    variables = {"DATABASE_URL": database_url, "MIGRATION_PATH": "scripts/init-db.sql"}
    with running(*command, env=variables, cwd=tmp_path) as server:
        address = r"running on http://127\.0\.0\.1:(\d+)"
        eventually(lambda: re.search(address, server.err) is not None, say=lambda: server.err)
        port = int(re.findall(address, server.err)[0])
        eventually(lambda: probe(port) == 0, say=lambda: server.err)
        server.send(signal.SIGTERM)
        assert server.wait(10) in {0, -signal.SIGTERM}, server.err


# Commands and settings, wherever they are ---------------------------------------------------------


def one_shot_commands() -> list[list[str]]:
    services = [service["command"] for service in compose()["services"].values() if "command" in service]
    pods = [container for name in MANIFESTS for container in containers(name)]
    return [*services, *(container["command"] for container in pods if "command" in container)]


def test_the_one_shots_are_commands_that_dbinit_takes() -> None:
    commands = one_shot_commands()
    assert len(commands) == 3
    for command in commands:
        assert command[:3] == ["python", "-m", "dbinit"]
        assert run([*command, "--help"]).returncode == ExitCode.OK
        assert run([*command, "--no-such-option"]).returncode == ExitCode.USAGE


def test_the_manifests_settings_are_known_and_valid() -> None:
    for name in MANIFESTS:
        for container in containers(name):
            variables = variables_of(container)
            assert set(variables) <= KNOWN_VARIABLES
            assert options(variables).history_schema == "dbinit"  # as in roles.sql
    services = compose()["services"]
    for service in ("dbinit", "backend"):
        variables = services[service]["environment"]
        assert set(variables) <= KNOWN_VARIABLES
        url = re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", PASSWORD, variables["DATABASE_URL"])
        settings = options({**variables, "DATABASE_URL": url})
        assert settings.url.user == services["postgres"]["environment"]["POSTGRES_USER"]
        assert settings.url.database == services["postgres"]["environment"]["POSTGRES_DB"]
        assert settings.url.hosts == ("postgres",)


# compose.yaml -------------------------------------------------------------------------------------


def test_compose_starts_in_order() -> None:
    services = compose()["services"]
    assert services["dbinit"]["depends_on"] == {"postgres": {"condition": "service_started"}}
    assert services["backend"]["depends_on"] == {"dbinit": {"condition": "service_completed_successfully"}}
    assert services["backend"]["environment"]["DBINIT_MODE"] == "verify"
    assert services["dbinit"]["healthcheck"] == {"disable": True}
    assert services["dbinit"]["restart"] == "no"


def test_compose_has_no_password_and_asks_for_one() -> None:
    environments = [service["environment"] for service in compose()["services"].values()]
    values = [value for variables in environments for value in variables.values()]
    assert sum("${POSTGRES_PASSWORD:?" in value for value in values) == 3
    assert not any(re.search(r"://[^:]*:[^$]", value) for value in values)


def test_compose_keeps_the_documents_names() -> None:
    document = compose()
    assert document["name"] == "muse-ai"  # its network is muse-ai_default
    assert document["services"]["backend"]["image"] == "muse-ai-backend"
    assert re.fullmatch(r"postgres:\d+\.\d+-[a-z]+", document["services"]["postgres"]["image"])


# Kubernetes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_startup_budget_exceeds_the_longest_start(name: str) -> None:
    (container,) = pod(name)["containers"]
    variables = variables_of(container)
    assert variables["DBINIT_MODE"] == "verify"
    startup = budget(container["startupProbe"])
    initialized = "initContainers" in pod(name)
    needed = options(variables).connect_deadline.total_seconds() if initialized else longest_start(variables)
    assert startup > needed
    rollout = startup + sum(longest_start(variables_of(init)) for init in pod(name).get("initContainers", []))
    assert workload(name)["spec"]["progressDeadlineSeconds"] > rollout


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_probes_leave_room_for_an_answer(name: str) -> None:
    (container,) = pod(name)["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        check = container[kind]  # a health answer takes 0.8 s at most
        assert 1 < check["timeoutSeconds"] <= check["periodSeconds"], kind


@pytest.mark.anyio
@pytest.mark.parametrize("name", DEPLOYMENTS)
async def test_the_probes_ask_for_routes_that_the_service_has(name: str) -> None:
    from app.main import app  # noqa: PLC0415 - the other tests need no service

    (container,) = pod(name)["containers"]
    transport = httpx.ASGITransport(app=app)  # runs no lifespan, so nothing is ready
    expected = {"startupProbe": 503, "readinessProbe": 503, "livenessProbe": 200}
    async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
        for kind, status in expected.items():
            request = container[kind]["httpGet"]
            assert request["port"] in {port["name"] for port in container["ports"]}
            assert (await client.get(request["path"])).status_code == status, kind


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_grace_period_covers_the_shutdown(name: str) -> None:
    command = last("CMD").words
    shutdown = int(command[command.index("--timeout-graceful-shutdown") + 1])
    (container,) = pod(name)["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(name)["terminationGracePeriodSeconds"] > shutdown + pause
    grace = parse_duration(compose()["services"]["backend"]["stop_grace_period"])
    assert grace > timedelta(seconds=shutdown)


def test_the_jobs_deadline_covers_all_its_runs() -> None:
    spec = workload("job.yaml")["spec"]
    (container,) = containers("job.yaml")
    runs = 1 + spec["backoffLimit"]
    pauses = sum(10 * 2**number for number in range(spec["backoffLimit"]))  # the Job controller's
    assert spec["activeDeadlineSeconds"] > runs * longest_start(variables_of(container)) + pauses
    assert pod("job.yaml")["restartPolicy"] == "Never"


def test_the_jobs_policy_decides_about_every_exit_code() -> None:
    disruption, *rules = workload("job.yaml")["spec"]["podFailurePolicy"]["rules"]
    assert disruption["action"] == "Ignore"
    assert disruption["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    decided: dict[str, set[int]] = {}
    for rule in rules:
        condition = rule["onExitCodes"]
        assert condition["containerName"] in {container["name"] for container in containers("job.yaml")}
        assert condition["operator"] == "In"
        assert condition["values"] == sorted(set(condition["values"]))  # the API server insists
        decided[rule["action"]] = set(condition["values"])
    assert decided["FailJob"] == {ExitCode.FAILED, ExitCode.USAGE, ExitCode.HISTORY}
    assert decided["Count"] == {ExitCode.UNREACHABLE, ExitCode.LOCKED, *SIGNALS}
    assert decided["FailJob"] | decided["Count"] == {*ExitCode, *SIGNALS} - {ExitCode.OK}


def test_the_readme_lists_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+(?:, \d+)*) \|", README, re.MULTILINE)
    listed = [int(code) for row in rows for code in row.split(", ")]
    assert listed == [*ExitCode, *sorted(SIGNALS)]


def test_secrets_and_config_maps_are_documented_and_mounted_where_they_are_read() -> None:
    image_file = image_environment()["MIGRATION_PATH"]
    for name in MANIFESTS:
        volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
        for container in containers(name):
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            url = Path(variables_of(container)["DATABASE_URL_FILE"])
            secret = mounts[str(url.parent)]["secret"]["secretName"]
            assert secret == ("muse-db-migrate" if container["name"] == "dbinit" else "muse-db-run")
            assert f"kubectl create secret generic {secret} --from-file={url.name}=" in README
            file = Path(variables_of(container).get("MIGRATION_PATH", image_file))
            if str(file) != image_file:
                config = mounts[str(file.parent)]["configMap"]["name"]
                created = re.search(rf"kubectl create configmap {config} --from-file=(\S+)", README)
                assert created
                assert Path(created[1]).name == file.name
                assert (ROOT / created[1]).is_file()


def test_only_the_migrating_container_sees_the_migrating_secret() -> None:
    (service,) = pod("init-container.yaml")["containers"]
    secrets = {volume["name"]: volume.get("secret", {}) for volume in pod("init-container.yaml")["volumes"]}
    seen = {secrets[mount["name"]].get("secretName") for mount in service["volumeMounts"]}
    assert "muse-db-migrate" not in seen
    assert "muse-db-migrate" not in (KUBERNETES / "deployment.yaml").read_text()


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_pods_meet_the_restricted_pod_security_standard(name: str) -> None:
    security = pod(name)["securityContext"]
    user, group = map(int, last("USER").text.split(":"))
    assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, user, group)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(name)["automountServiceAccountToken"] is False
    for container in containers(name):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= container["resources"].keys()
    # A file for owner and group only is readable because the pod's fsGroup owns it.
    modes = {volume["secret"]["defaultMode"] for volume in pod(name)["volumes"] if "secret" in volume}
    assert modes == {0o440}
    assert security["fsGroup"] == group


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_service_selects_the_deployments_pods_and_not_the_jobs(name: str) -> None:
    labels = workload(name)["spec"]["template"]["metadata"]["labels"]
    assert workload(name)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (service,) = [document for document in manifests(name) if document["kind"] == "Service"]
    selector = service["spec"]["selector"]
    assert selector.items() <= labels.items()
    assert not selector.items() <= workload("job.yaml")["spec"]["template"]["metadata"]["labels"].items()


def test_one_release_runs_one_image() -> None:
    images = {container["image"] for name in MANIFESTS for container in containers(name)}
    assert len(images) == 1
    assert re.fullmatch(r".+/muse-ai-backend:\d+\.\d+\.\d+", images.pop())


@pytest.mark.anyio
async def test_a_config_map_volume_is_read_through_its_links(database_url: str, tmp_path: Path) -> None:
    (init, _) = containers("init-container.yaml")
    file = Path(variables_of(init)["MIGRATION_PATH"]).name
    version = tmp_path / "..2026_01_01"
    version.mkdir()
    (version / file).write_text("CREATE TABLE IF NOT EXISTS users (id bigint PRIMARY KEY);\n")
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / file).symlink_to(f"..data/{file}")
    done = run([*init["command"], "--json"], DATABASE_URL=database_url, MIGRATION_PATH=str(tmp_path / file))
    assert done.returncode == ExitCode.OK, done.stderr
    assert json.loads(done.stdout)["outcome"] == "applied"


# roles.sql ----------------------------------------------------------------------------------------


@pytest.fixture
async def roles(database_url: str) -> AsyncIterator[str]:
    """Run roles.sql, twice. Yields what stands for `muse_ai` in its names: all databases share the roles."""
    prefix = f"muse_{uuid4().hex[:12]}"
    script = (KUBERNETES / "roles.sql").read_text().replace("muse_ai_", f"{prefix}_")
    superuser = await asyncpg.connect(database_url)
    try:
        await superuser.execute(script)
        await superuser.execute(script)
        for role in ("migrate", "run"):
            await superuser.execute(f"ALTER ROLE {prefix}_{role} PASSWORD '{PASSWORD}'")
        yield prefix
        everyone = f"{prefix}_run, {prefix}_migrate, {prefix}_owner"
        await superuser.execute(f"DROP OWNED BY {everyone} CASCADE; DROP ROLE {everyone}")
    finally:
        await superuser.close()


@pytest.mark.anyio
async def test_the_running_role_changes_rows_but_not_the_schema(database_url: str, roles: str) -> None:
    migrate = await asyncpg.connect(as_role(database_url, f"{roles}_migrate"))
    await migrate.execute("CREATE TABLE notes (id serial PRIMARY KEY, text text)")
    await migrate.execute("CREATE TABLE dbinit.dbinit_history (id int)")
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'notes'::regclass"
    assert await migrate.fetchval(owner) == f"{roles}_owner"
    await migrate.close()

    running = await asyncpg.connect(as_role(database_url, f"{roles}_run"))
    for allowed in (
        "INSERT INTO notes (text) VALUES ('a')",
        "UPDATE notes SET text = 'b'",
        "DELETE FROM notes",
    ):
        await running.execute(allowed)
    assert await running.fetch("SELECT * FROM dbinit.dbinit_history") == []
    for refused in (
        "CREATE TABLE other (id int)",
        "CREATE TEMPORARY TABLE other (id int)",
        "CREATE SCHEMA other",
        "ALTER TABLE notes ADD COLUMN more int",
        "TRUNCATE notes",
        "DROP TABLE notes",
        "INSERT INTO dbinit.dbinit_history VALUES (1)",
        "DELETE FROM dbinit.dbinit_history",
        f"SET ROLE {roles}_owner",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await running.execute(refused)
    await running.close()


@pytest.mark.anyio
async def test_dbinit_migrates_as_one_role_and_verifies_as_the_other(database_url: str, roles: str) -> None:
    settings = {
        "DBINIT_HISTORY_SCHEMA": "dbinit",
        "MIGRATION_PATH": str(ROOT / "scripts" / "init-db.sql"),
    }
    (command, *_) = one_shot_commands()
    migrated = run(command, DATABASE_URL=as_role(database_url, f"{roles}_migrate"), **settings)
    assert migrated.returncode == ExitCode.OK, migrated.stderr
    # Nothing is left to do, and to find that out takes no right but to read the history.
    verified = run(command, DATABASE_URL=as_role(database_url, f"{roles}_run"), **settings)
    assert verified.returncode == ExitCode.OK, verified.stderr
    running = await asyncpg.connect(as_role(database_url, f"{roles}_run"))
    assert await running.fetchval("SELECT count(*) FROM dbinit.dbinit_history") == 1
    await running.execute("DELETE FROM users")
    await running.close()
