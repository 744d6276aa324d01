"""PostgreSQL's own grammar, without a server: what it refuses, and where. Pure.

It comes with `postgast`, of the extra `validate`; only this module knows it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = [
    "Body",
    "Refusal",
    "Token",
    "available",
    "body_of",
    "grammar_version",
    "parse_plpgsql",
    "parse_sql",
    "tokens",
]

# The functions of PostgreSQL whose errors are errors everywhere, as they look at nothing but the text. What others find
# depends on a catalog, or on the server's encoding and limits.
_GRAMMAR = frozenset(
    {"base_yyparse", "plpgsql_yyerror", "preprocess_pubobj_list", "read_sql_construct", "scanner_yyerror"}
)


class Refusal(NamedTuple):
    """Why a text is refused.

    Attributes:
        message: PostgreSQL's own words.
        found_by: The function of PostgreSQL that says so.
        position: The character that it is about, from 0; None where that is not said.
    """

    message: str
    found_by: str
    position: int | None

    @property
    def is_of_syntax(self) -> bool:
        """Whether every server of this version refuses the text, whatever is in its database."""
        return self.found_by in _GRAMMAR


class Token(NamedTuple):
    """A token of SQL, by its characters; `is_string` for a literal."""

    start: int
    end: int
    is_string: bool


class Body(NamedTuple):
    """The body of a function or of a DO block that is given as a literal.

    Attributes:
        language: What it is written in.
        text: The body itself.
        literal: Where in the statement the literal stands.
    """

    language: str
    text: str
    literal: Token


def available() -> bool:
    """Tell whether the grammar is installed, and can be loaded."""
    try:
        import postgast  # noqa: F401, PLC0415 - 14 MB that most starts have no use for
    except (ImportError, OSError):
        return False
    return True


def grammar_version() -> int:
    """Return the version of PostgreSQL that the grammar is of, as `server_version_num` has it: 180004 for 18.4."""
    import postgast  # noqa: PLC0415 - as above

    return int(postgast.parse("SELECT 1").version)


def parse_sql(text: str) -> Refusal | None:
    """Return the first thing in one or more statements that is refused; None where there is none."""
    import postgast  # noqa: PLC0415 - as above

    # Of all that parse it is this one that does not hand over the tree.
    return _refusal(postgast.split, text)


def parse_plpgsql(text: str) -> Refusal | None:
    """Return the first thing in the body of a function or DO block that is refused; its position is in the body.

    Args:
        text: The whole statement.
    """
    import postgast  # noqa: PLC0415 - as above

    return _refusal(postgast.parse_plpgsql, text)


def _refusal(parse: Callable[[str], object], text: str) -> Refusal | None:
    import postgast  # noqa: PLC0415 - as above

    try:
        parse(text)
    except postgast.PgQueryError as error:
        # It counts characters from 1, whatever its documentation says; 0 is none.
        return Refusal(error.message, error.funcname or "", error.cursorpos - 1 if error.cursorpos > 0 else None)
    except ValueError:
        # What it says of some functions is no JSON, but then their bodies have been read without an error.
        return None
    return None


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a text, up to the first thing that is none."""
    import postgast  # noqa: PLC0415 - as above
    from postgast.pg_query_pb2 import SCONST, USCONST  # noqa: PLC0415 - as above

    data = text.encode()
    try:
        found = postgast.scan(text).tokens
    except postgast.PgQueryError:
        return
    characters, byte = 0, 0
    for token in found:
        start = characters + len(data[byte : token.start].decode())
        characters, byte = start + len(data[token.start : token.end].decode()), token.end
        yield Token(start, characters, token.token in {SCONST, USCONST})


def body_of(statement: str) -> Body | None:
    """Return the body of a function or DO block; None where the text is another statement, or has none as a literal."""
    import postgast  # noqa: PLC0415 - as above
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - as above

    try:
        found = postgast.parse(statement).stmts
    except (postgast.PgQueryError, DecodeError, ValueError):  # the second for a tree of more than a hundred levels
        return None
    if len(found) != 1:
        return None
    options = {option.def_elem.defname: option.def_elem for option in _options(found[0].stmt)}
    texts = _texts(options["as"]) if "as" in options else []
    if len(texts) != 1:
        return None
    language = options["language"].arg.string.sval if "language" in options else "plpgsql"
    start = len(statement.encode()[: options["as"].location].decode())
    literal = next(token for token in tokens(statement) if token.is_string and token.start >= start)
    return Body(language, texts[0], literal)


def _options(node: Any) -> list[Any]:
    return list(node.do_stmt.args if node.HasField("do_stmt") else node.create_function_stmt.options)


def _texts(option: Any) -> list[str]:
    if option.arg.HasField("list"):
        return [item.string.sval for item in option.arg.list.items]
    return [option.arg.string.sval]
