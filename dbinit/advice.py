"""What to do about PostgreSQL's errors, by their code. Pure."""

import re

__all__ = ["advise"]

_IF_NOT_EXISTS = (
    "the object exists already: add IF NOT EXISTS to this statement (CREATE OR REPLACE for functions, views and"
    " triggers), and look for a duplicate of it in the file"
)
_DEADLOCK = "look for deadlocks and long transactions in pg_stat_activity and pg_locks, then start again"
_RIGHTS = (
    "let the owner of the schema run dbinit, or act as that role (DBINIT_ROLE), or grant the role what is missing"
    " (since PostgreSQL 15 nobody but the database's owner may create in the schema public: GRANT CREATE ON SCHEMA"
    " public TO the_role)"
)
_RIGHTS_IN_DATABASE = "GRANT CREATE ON DATABASE ... TO the_role, or let a role with that right run dbinit (DBINIT_ROLE)"
_NO_PACKAGE = "install the extension's package on the database server, or leave the extension out"
_DEPENDENTS = (
    "DROP what depends on it first (DETAIL names it), or add CASCADE, which drops that as well; views and the like of a"
    " repeatable migration are made again by the `up` that follows a `down`"
)
_BY_STATE = {
    "42P07": _IF_NOT_EXISTS,
    "42P06": _IF_NOT_EXISTS,
    "42P04": _IF_NOT_EXISTS,
    "42710": _IF_NOT_EXISTS,
    "42701": _IF_NOT_EXISTS,
    "42723": "the function exists already: use CREATE OR REPLACE FUNCTION",
    "42P13": (
        "a function's parameter names or result type cannot be replaced: DROP FUNCTION IF EXISTS it before"
        " CREATE OR REPLACE FUNCTION"
    ),
    "2BP01": _DEPENDENTS,
    "23505": "the row exists already: add ON CONFLICT DO NOTHING to make the statement idempotent",
    "40P01": _DEADLOCK,
    "55P03": _DEADLOCK,
    "57014": "the statement was cancelled: see statement_timeout, and look for what it waited for",
    "42501": _RIGHTS,
    "25006": "connect to the primary (several hosts with target_session_attrs=read-write), or start in verify mode",
    "0A000": "see the manual of this server's version: it knows the statement, but cannot do this",
    "58P01": _NO_PACKAGE,
    "2D000": (
        "a procedure that commits cannot run inside a transaction: write -- dbinit: no-transaction into the migration,"
        " or CALL it from DO $$ BEGIN CALL ...; COMMIT; END $$, which has a file run step by step"
    ),
    "25001": "this statement cannot run inside a transaction, and the file is run in one: take it out of the file",
}
# By code, with patterns of the statement and of the message: where both are found, this is better advice.
_SPECIAL = (
    (
        "42601",
        r"\s*create\s+(?:or\s+replace\s+)?(?:function|procedure)\b",
        "",
        "check for proper $$ delimiters around the function's body, and for the semicolons in it",
    ),
    ("42601", "", r'at or near ":"$', "if a psql variable is meant, it is not set: pass it with -v name=value"),
    (
        "25001",
        r"\s*set\s+transaction\b",
        "",
        "dbinit's own statements come before it: put the script between BEGIN ISOLATION LEVEL ...; and COMMIT;",
    ),
    (
        "2BP01",
        r"\s*drop\s+(?:role|user|group)\b",
        "",
        "REASSIGN OWNED BY it TO another role, and DROP OWNED BY it, in each database where it has something",
    ),
    ("23505", r"\s*create\s+unique\s+index\b", "", "remove the duplicate rows first"),
    ("42501", r"\s*create\s+(?:extension|schema)\b", "", _RIGHTS_IN_DATABASE),
    ("0A000", "", r'extension ".*" is not available', _NO_PACKAGE),
)


def advise(sqlstate: str, message: str, statement: str) -> str:
    """Return what to do about an error, or an empty string where there is nothing sensible to say.

    Args:
        sqlstate: PostgreSQL's five-character code.
        message: PostgreSQL's message.
        statement: The text of the statement.
    """
    for state, of_statement, of_message, advice in _SPECIAL:
        told = state == sqlstate and re.match(of_statement, statement, re.IGNORECASE)
        if told and re.search(of_message, message, re.IGNORECASE):
            return advice
    return _BY_STATE.get(sqlstate, "")
