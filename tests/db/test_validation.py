"""The grammar and the server agree: on the SQL that PostgreSQL ships, and on statements that somebody has spoilt."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dbinit.embedded import installed_binaries
from dbinit.grammar import tokens
from dbinit.sql.reader import Reader
from dbinit.syntax import find_fault
from tests.kit.scripts import script_of
from tests.kit.server import Server

SCRIPTS = Path(__file__).parents[2] / "scripts"
# What the server puts into the script of an extension before it reads it.
SUBSTITUTED = {"@extschema@": "public", "@extowner@": "postgres", "MODULE_PATHNAME": "module"}

FUNCTIONS = """
CREATE FUNCTION pg_temp.loops(n int, OUT total int) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    c CURSOR (k int) FOR SELECT g FROM generate_series(1, k) AS g;
BEGIN
    total := 0;
    <<outer>>
    FOR i IN REVERSE n..1 BY 2 LOOP
        CONTINUE outer WHEN i % 2 = 0;
        total := total + CASE WHEN i > 3 THEN i ELSE (i * 2) END;
    END LOOP outer;
    FOR r IN SELECT a, b FROM (VALUES (1, 'x'), (2, 'y')) AS v (a, b) WHERE a = ANY (ARRAY[1, 2]) LOOP
        RAISE NOTICE 'row % %', r.a, upper(r.b) USING HINT = 'none';
    END LOOP;
    OPEN c(k := n);
    WHILE total < 100 LOOP
        FETCH c INTO r;
        EXIT WHEN NOT FOUND;
        EXECUTE 'SELECT $1 + 1' INTO STRICT total USING total;
    END LOOP;
    CLOSE c;
EXCEPTION
    WHEN unique_violation OR division_by_zero THEN
        GET STACKED DIAGNOSTICS total = ROW_COUNT;
        RAISE;
END;
$$;
CREATE FUNCTION pg_temp.choice(a text, b text DEFAULT 'it''s') RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    IF a IS NULL THEN
        RETURN NEXT b;
    ELSIF a = b THEN
        RETURN QUERY SELECT a || 'ü' UNION ALL SELECT b;
    ELSE
        PERFORM set_config('a.b', a, true);
    END IF;
    RETURN;
END;
$$;
CREATE FUNCTION pg_temp.plain(a int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) + $1 FROM pg_class; SELECT 1';
"""


def statements(text: str, path: str) -> list[str]:
    return [statement.text for statement in Reader(script_of(text, 1 << 16, path))]


SHIPPED = [text for file in sorted(SCRIPTS.rglob("*.sql")) for text in statements(file.read_text(), file.name)]
PLAIN = [text for text in SHIPPED if not text.startswith(("DO", "CREATE OR REPLACE FUNCTION"))]
BODIES = statements(FUNCTIONS, "functions.sql")


class Parser:
    """The server's own parser."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._runner.run(asyncpg.connect(url))

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()

    def state(self, message: str) -> str:
        """Return the SQLSTATE of the error that a message ends with; nothing that it does is left."""
        try:
            self._runner.run(self._connection.execute(message))
        except asyncpg.PostgresError as error:
            return error.sqlstate or ""
        finally:
            self._runner.run(self._connection.execute("ROLLBACK"))
        return ""

    def refuses(self, text: str) -> bool:
        """Tell whether a text cannot be parsed: that is said before the first statement of its message is run."""
        return self.state(f"SELECT 1 / 0; {text}") != "22012"


@pytest.fixture(scope="module")
def parser(server: Server) -> Iterator[Parser]:
    opened = Parser(server.url())
    yield opened
    opened.close()


def test_the_parser_is_asked_before_anything_is_run(parser: Parser) -> None:
    assert parser.refuses("SELEC 2")
    assert not parser.refuses("SELECT 2 FROM nowhere")


def test_what_postgresql_ships_passes_just_where_the_server_takes_it(parser: Parser) -> None:
    files = sorted((installed_binaries().parent / "share").rglob("*.sql"))
    assert len(files) > 100
    count = 0
    for file in files:
        text = file.read_text()
        for name, value in SUBSTITUTED.items():
            text = text.replace(name, value)
        for statement in statements("\n".join(line for line in text.splitlines() if line[:1] != "\\"), str(file)):
            fault = find_fault(statement)
            assert (fault is not None) == parser.refuses(statement), (file.name, statement, fault)
            count += 1
    assert count > 1000


spoiling = settings(
    max_examples=300,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def spoilt(draw: st.DrawFn, texts: list[str]) -> str:
    """A statement with a token deleted, doubled, or exchanged for another one."""
    text = draw(st.sampled_from(texts))
    places = list(tokens(text))
    start, end, is_string = draw(st.sampled_from(places))
    if is_string and end - start > 100:  # the body of a function
        body = draw(spoilt([text[start + 2 : end - 2]]))
        return f"{text[:start]}$${body}$${text[end:]}"
    other = draw(st.sampled_from(["", text[start:end] * 2, "(", ")", ";", "END", "THEN", "FROM", "ü", "1"]))
    return f"{text[:start]} {other} {text[end:]}"


@spoiling
@given(text=spoilt(PLAIN))
def test_a_spoilt_statement_is_refused_by_both_or_by_none(parser: Parser, text: str) -> None:
    assert (find_fault(text) is not None) == parser.refuses(text)


@spoiling
@given(text=spoilt(BODIES))
def test_a_spoilt_function_is_refused_only_where_the_server_refuses_it(parser: Parser, text: str) -> None:
    fault = find_fault(text)
    if fault is None:
        assert not parser.refuses(text)
    else:
        assert parser.state(f"BEGIN; {text}; ROLLBACK")
