"""PostgreSQL's names of encodings, and what Python calls them. Pure."""

import codecs
import re

__all__ = ["UTF8", "codec_name"]

UTF8 = "utf-8"

# What the two call differently, without the signs that PostgreSQL passes over in a name. SQL_ASCII means that nobody
# converts anything, and the database at the other end wants UTF-8.
_NAMES = {
    "unicode": UTF8,
    "utf8": UTF8,
    "default": UTF8,
    "sqlascii": UTF8,
    "alt": "cp866",
    "win": "cp1251",
    "koi8": "koi8_r",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "abc": "cp1258",
    "tcvn": "cp1258",
    "tcvn5712": "cp1258",
    "vscii": "cp1258",
    "sjis": "cp932",
    "shiftjis": "cp932",
    "mskanji": "cp932",
    "eucjp": "euc_jp",
    "euccn": "gb2312",
    "euckr": "euc_kr",
    "eucjis2004": "euc_jis_2004",
    "big5": "cp950",
    "gbk": "cp936",
    "gb18030": "gb18030",
    "uhc": "cp949",
    "johab": "johab",
}
_FAMILIES = re.compile(r"(?:(win(?:dows)?)|(iso8859)|latin)(\d+)")


def codec_name(name: str) -> str | None:
    """Return the name of Python's codec for an encoding of PostgreSQL's, or None where Python has none.

    Args:
        name: As in `SET client_encoding`; case, and signs between letters and digits, make no difference.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    found = _NAMES.get(plain)
    if not found and (family := _FAMILIES.fullmatch(plain)):
        windows, iso, number = family.groups()
        found = f"cp{number}" if windows else f"iso8859-{number}" if iso else f"latin{number}"
    try:
        return codecs.lookup(found).name if found else None
    except LookupError:
        return None
