import pytest

from dbinit.sql.facts import leading_words, refusal


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("", []),
        ("(SELECT 1)", []),
        ("select 1", ["SELECT"]),
        ("create or replace view v as", ["CREATE", "OR", "REPLACE", "VIEW", "V", "AS"]),
        ("COPY\n  t (a)", ["COPY", "T"]),
        ("ROLLBACK/* a */TO -- b\nx", ["ROLLBACK", "TO", "X"]),
        ("BEGIN /* outer /* inner */ outer */ WORK", ["BEGIN", "WORK"]),
        ("BEGIN /* never closed", ["BEGIN"]),
        ('PREPARE "p" AS', ["PREPARE"]),
        ("a_1$b.c", ["A_1$B"]),
    ],
)
def test_the_words_a_statement_begins_with(statement: str, words: list[str]) -> None:
    assert list(leading_words(statement)) == words


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN",
        "begin isolation level serializable",
        "START TRANSACTION",
        "COMMIT",
        "COMMIT PREPARED 'x'",
        "END",
        "END WORK",
        "ABORT",
        "ROLLBACK",
        "ROLLBACK WORK",
        "ROLLBACK AND CHAIN",
        "ROLLBACK PREPARED 'x'",
        "PREPARE TRANSACTION 'x'",
        "/* first */ COMMIT",
        "-- first\nCOMMIT",
    ],
)
def test_what_controls_the_transaction_is_refused(statement: str) -> None:
    assert "controls the transaction" in refusal(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY t FROM STDIN",
        "copy t (a, b) from stdin with (format csv)",
        "COPY t TO STDOUT",
        "COPY (SELECT 1) TO\n STDOUT",
        "COPY t FROM/* the client */STDIN",
        "COPY t FROM -- the client\n STDIN",
    ],
)
def test_what_talks_to_the_client_is_refused(statement: str) -> None:
    assert "COPY from stdin or to stdout" in refusal(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELECT 1",
        "SAVEPOINT a",
        "RELEASE a",
        "ROLLBACK TO a",
        "ROLLBACK TO SAVEPOINT a",
        "ROLLBACK WORK TO SAVEPOINT a",
        "rollback transaction to a",
        "PREPARE p AS SELECT 1",
        "PREPARE p (int) AS SELECT 1",
        'PREPARE "P" AS SELECT 1',
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "COPY t FROM '/tmp/stdin.csv'",
        "COPY t TO PROGRAM 'cat'",
        "CREATE TABLE copy_from_stdin (a text)",
        "INSERT INTO t VALUES ('COPY t FROM STDIN')",
        "DO $$ BEGIN COMMIT; END $$",
        "CREATE TABLE begin_commit ()",
        "ENDPOINT",
    ],
)
def test_what_can_run_inside_a_transaction_is_not_refused(statement: str) -> None:
    assert refusal(statement) == ""
