"""Where a statement, or the body of a function in it, is wrong by PostgreSQL's grammar. Pure."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from . import grammar
from .grammar import Body, Refusal, Token
from .sql.facts import leading_words

__all__ = ["Fault", "find_fault"]

_NEAR = re.compile(r' at or near "(.*)"\Z', re.DOTALL)
_LONGEST = 40  # characters of a token that a message may repeat
_CLOSING = {"(": ")", "[": "]"}
_ENDS = frozenset({";", "THEN", "LOOP", "..", "INTO", "USING"})  # of an expression in PL/pgSQL


class Fault(NamedTuple):
    """An error of syntax.

    Attributes:
        message: PostgreSQL's own words, without any literal.
        position: The character of the statement that it is about, from 0.
    """

    message: str
    position: int


def find_fault(statement: str, *, bodies: bool = True) -> Fault | None:
    """Return the first error of syntax in a statement; None where there is none.

    Args:
        statement: The statement, or several of them.
        bodies: Whether to look into the body of a function that is written in SQL or PL/pgSQL.
    """
    if refusal := grammar.parse_sql(statement):
        return _fault(refusal, refusal.position or 0)
    body = grammar.body_of(statement) if _may_have_body(statement, functions=bodies) else None
    if body is None:
        return None
    if body.language == "sql" and (refusal := grammar.parse_sql(body.text)):
        return _fault(refusal, _outer(statement, body, refusal.position or 0))
    if body.language == "plpgsql" and (refusal := grammar.parse_plpgsql(statement)) and refusal.is_of_syntax:
        return _fault(refusal, _outer(statement, body, _Search(statement, body, refusal).position()))
    return None


def _may_have_body(statement: str, *, functions: bool) -> bool:
    """Tell whether a statement is a DO block, or makes a function or procedure: of others no tree need be made."""
    words = [word for word in islice(leading_words(statement), 4) if word not in {"OR", "REPLACE"}]
    return words[:1] == ["DO"] or (functions and words[:2] in (["CREATE", "FUNCTION"], ["CREATE", "PROCEDURE"]))


def _fault(refusal: Refusal, position: int) -> Fault | None:
    if not refusal.is_of_syntax:
        return None
    near = _NEAR.search(refusal.message)
    # A literal may be a secret, and one without an end is the rest of the file.
    shown = near is None or (len(near[1]) <= _LONGEST and not re.search(r"['\"$\n]", near[1]))
    return Fault(refusal.message if shown else _NEAR.sub("", refusal.message), position)


def _outer(statement: str, body: Body, position: int) -> int:
    """Return which character of a statement the one at `position` of its body is; the literal's first if unknown."""
    start, end, _ = body.literal
    literal = statement[start:end]
    if literal.startswith("$"):
        return start + literal.index("$", 1) + 1 + position
    if literal == "'" + body.text.replace("'", "''") + "'":
        return start + 1 + position + body.text.count("'", 0, position)
    return start


class _Cut(NamedTuple):
    """Where a body is cut off: behind a token, with brackets still open that are closed so.

    Attributes:
        token: The last token that is left.
        word: That token.
        closing: What closes the brackets.
        before: Where the token before it ends.
    """

    token: Token
    word: str
    closing: str
    before: int


class _Search:
    """Looks for the place of an error in PL/pgSQL, of which the parser says no more than what it reads there.

    A body that is cut off behind its first wrong token is refused in the same words; one that is cut off before is
    not. So the place is found by halving; it is the server's own but for a few in a hundred, which are near it.
    """

    def __init__(self, statement: str, body: Body, refusal: Refusal) -> None:
        self._head, self._tail = statement[: body.literal.start], statement[body.literal.end :]
        self._body = body.text
        self._refusal = refusal
        near = _NEAR.search(refusal.message)
        self._near = near[1] if near else None
        # PL/pgSQL looks into an expression at its end; without one, at the end of the body; but not into a statement.
        self._ends = ("", ";") if near and refusal.found_by == "scanner_yyerror" else ("",)

    def position(self) -> int:
        """Return the position in the body; its end if it cannot be found."""
        if self._refusal.position is not None:
            return self._refusal.position
        if self._refusal.found_by == "plpgsql_yyerror" and self._refusal.message.endswith(" at end of input"):
            return len(self._body)
        cuts = [cut for cut in _cuts(self._body) if self._near or cut.word.upper() in _ENDS]
        first = self._first(cuts)
        if first == len(cuts):
            return len(self._body)
        if self._near:
            # From there on, as a bracket of ours may have been in its place; a name with dots is several tokens here.
            ends = (cut.token.end for cut in cuts[first:] if self._body.endswith(self._near, 0, cut.token.end))
            return next(ends, len(self._near)) - len(self._near)
        return cuts[first].before if self._refusal.found_by == "scanner_yyerror" else cuts[first].token.start

    def _first(self, cuts: list[_Cut]) -> int:
        first = 0
        while True:
            first += bisect_left(cuts[first:], True, key=self._is_refused)
            # Cut off behind its first word, an assignment is wrong in the same way; but not behind its second one.
            if first + 1 >= len(cuts) or self._is_refused(cuts[first + 1]):
                return first
            first += 1

    def _is_refused(self, cut: _Cut) -> bool:
        for end in self._ends:
            body = f"{self._body[: cut.token.end]} {cut.closing}{end}"
            refusal = grammar.parse_plpgsql(f"{self._head}{_quoted(body)}{self._tail}")
            if refusal and refusal[:2] == self._refusal[:2]:
                return True
        return False


def _cuts(body: str) -> Iterator[_Cut]:
    closing, before = "", 0
    for token in grammar.tokens(body):
        word = body[token.start : token.end]
        if word in _CLOSING:
            closing = _CLOSING[word] + closing
        elif word == closing[:1]:
            closing = closing[1:]
        yield _Cut(token, word, closing, before)
        before = token.end


def _quoted(body: str) -> str:
    tag = "$body$"
    while tag in body:
        tag = f"{tag[:-1]}_$"
    return f"{tag}{body}{tag}"
