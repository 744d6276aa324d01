"""Password hashes: scrypt, salted, with their parameters beside them so that these can be raised later."""

import asyncio
import base64
import hashlib
import hmac
import secrets

# 16 MiB and about a quarter of a second each (OWASP's Password Storage Cheat Sheet).
_N, _R, _P = 2**14, 8, 5
_SALT_BYTES = 16


async def hash_password(password: str) -> str:
    """Return `scrypt$N$r$p$salt$digest`; the work is done in a thread, beside the event loop."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = await asyncio.to_thread(_digest, password, salt, _N, _R, _P)
    return "$".join(["scrypt", str(_N), str(_R), str(_P), _encode(salt), _encode(digest)])


async def verify_password(password: str, stored: str) -> bool:
    """Tell whether this is the password; never so for a hash of another kind, such as `!`."""
    match stored.split("$"):
        case ["scrypt", n, r, p, salt, expected]:
            digest = await asyncio.to_thread(_digest, password, base64.b64decode(salt), int(n), int(r), int(p))
            return hmac.compare_digest(_encode(digest), expected)
        case _:
            return False


def _digest(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    # JSON can spell half a surrogate pair: as good in a password as anything else.
    secret = password.encode(errors="surrogatepass")
    # OpenSSL refuses above 32 MiB unless told otherwise; scrypt needs 128 * n * r bytes, and a little.
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()
