/* dbinit's stand-in for contrib's uuid-ossp 1.1, in SQL and PL/pgSQL only
 *
 * The embedded server is built without the UUID library that the real extension needs. These functions have the
 * real ones' names, arguments, volatility, strictness and parallel safety, and return the same values:
 *
 *   uuid_nil, uuid_ns_dns, uuid_ns_url, uuid_ns_oid, uuid_ns_x500
 *   uuid_generate_v3   from an MD5 digest
 *   uuid_generate_v4   PostgreSQL's own gen_random_uuid()
 *   uuid_generate_v5   from a SHA-1 digest, computed in PL/pgSQL, as the core server has none: right, but slow
 *                      (below 0.1 ms for a name of up to 39 bytes, and as much again for each further 64)
 *
 * Left out are uuid_generate_v1 and uuid_generate_v1mc: they need the machine's address, or a clock sequence that
 * outlives the session, and SQL has neither. A schema that uses them is refused while it is being created, not at
 * its first insert. What needs them needs the real extension.
 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use '''CREATE EXTENSION "uuid-ossp"''' to load this file. \quit

-- Bodies in the SQL-standard form are parsed now and keep what they refer to: the extension stays relocatable, and
-- a caller's search_path changes nothing.

CREATE FUNCTION uuid_nil()
RETURNS uuid
IMMUTABLE STRICT LANGUAGE SQL PARALLEL SAFE
RETURN '00000000-0000-0000-0000-000000000000'::uuid;

CREATE FUNCTION uuid_ns_dns()
RETURNS uuid
IMMUTABLE STRICT LANGUAGE SQL PARALLEL SAFE
RETURN '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid;

CREATE FUNCTION uuid_ns_url()
RETURNS uuid
IMMUTABLE STRICT LANGUAGE SQL PARALLEL SAFE
RETURN '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::uuid;

CREATE FUNCTION uuid_ns_oid()
RETURNS uuid
IMMUTABLE STRICT LANGUAGE SQL PARALLEL SAFE
RETURN '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::uuid;

CREATE FUNCTION uuid_ns_x500()
RETURNS uuid
IMMUTABLE STRICT LANGUAGE SQL PARALLEL SAFE
RETURN '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::uuid;

CREATE FUNCTION uuid_generate_v4()
RETURNS uuid
VOLATILE STRICT LANGUAGE SQL PARALLEL SAFE
RETURN gen_random_uuid();

-- Versions 3 and 5 hash the namespace's 16 bytes followed by the name, as bytes of the database's encoding. The
-- version number then replaces the upper half of byte 6, and the variant (binary 10) the upper two bits of byte 8.

CREATE FUNCTION uuid_generate_v3(namespace uuid, name text)
RETURNS uuid
IMMUTABLE STRICT LANGUAGE plpgsql PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    digest bytea := decode(md5(uuid_send(namespace) || convert_to(name, getdatabaseencoding())), 'hex');
BEGIN
    digest := set_byte(digest, 6, (get_byte(digest, 6) & 15) | 48);
    digest := set_byte(digest, 8, (get_byte(digest, 8) & 63) | 128);
    RETURN encode(digest, 'hex')::uuid;
END;
$$;

-- SHA-1 as in FIPS 180-4, section 6.1. Its words have 32 bits and no sign, so they are kept in bigint and masked.
-- (All bit operators share one precedence in SQL: hence the parentheses.)
CREATE FUNCTION uuid_generate_v5(namespace uuid, name text)
RETURNS uuid
IMMUTABLE STRICT LANGUAGE plpgsql PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mask CONSTANT bigint := 4294967295;  -- 2^32 - 1
    message bytea := uuid_send(namespace) || convert_to(name, getdatabaseencoding());
    size CONSTANT bigint := length(message);
    digest bytea := '';
    h bigint[] := ARRAY[1732584193, 4023233417, 2562383102, 271733878, 3285377520];
    w bigint[];
    a bigint;
    b bigint;
    c bigint;
    d bigint;
    e bigint;
    mixed bigint;
BEGIN
    -- Padding: one bit, zeros up to 8 bytes short of a whole block, and the length in bits.
    message := message || '\x80' || decode(repeat('00', (119 - size % 64)::int % 64), 'hex') || int8send(8 * size);

    FOR block IN 0 .. length(message) / 64 - 1 LOOP
        FOR t IN 0 .. 79 LOOP
            IF t < 16 THEN
                w[t] := ('x' || encode(substr(message, 64 * block + 4 * t + 1, 4), 'hex'))::bit(32)::bigint;
            ELSE
                mixed := w[t - 3] # w[t - 8] # w[t - 14] # w[t - 16];
                w[t] := ((mixed << 1) | (mixed >> 31)) & mask;
            END IF;
        END LOOP;

        a := h[1];
        b := h[2];
        c := h[3];
        d := h[4];
        e := h[5];
        FOR t IN 0 .. 79 LOOP
            mixed := CASE t / 20
                WHEN 0 THEN ((b & c) | ((b # mask) & d)) + 1518500249
                WHEN 1 THEN (b # c # d) + 1859775393
                WHEN 2 THEN ((b & c) | (b & d) | (c & d)) + 2400959708
                ELSE (b # c # d) + 3395469782
            END;
            mixed := ((((a << 5) | (a >> 27)) & mask) + mixed + e + w[t]) & mask;
            e := d;
            d := c;
            c := ((b << 30) | (b >> 2)) & mask;
            b := a;
            a := mixed;
        END LOOP;
        h := ARRAY[(h[1] + a) & mask, (h[2] + b) & mask, (h[3] + c) & mask, (h[4] + d) & mask, (h[5] + e) & mask];
    END LOOP;

    -- 128 of the 160 bits become the UUID.
    FOR i IN 1 .. 4 LOOP
        digest := digest || substr(int8send(h[i]), 5);
    END LOOP;
    digest := set_byte(digest, 6, (get_byte(digest, 6) & 15) | 80);
    digest := set_byte(digest, 8, (get_byte(digest, 8) & 63) | 128);
    RETURN encode(digest, 'hex')::uuid;
END;
$$;
