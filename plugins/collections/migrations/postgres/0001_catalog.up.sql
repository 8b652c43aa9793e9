-- The catalog of collections, how many records each has, and what their tables and queries compute with.

CREATE TABLE collections_meta (
    -- Names the collection's table, collections_r_<number>.
    number BIGINT PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    label TEXT COLLATE "C" NOT NULL,
    "schema" TEXT COLLATE "C" NOT NULL CHECK ("schema"::json IS NOT NULL),
    options TEXT COLLATE "C" NOT NULL CHECK (options::json IS NOT NULL),
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    -- Counts up with every change: a write prepared under an older one is not applied.
    revision BIGINT NOT NULL
);

-- Tells other nodes, as the transaction commits.
CREATE CONSTRAINT TRIGGER collections_meta_changed AFTER INSERT OR UPDATE OR DELETE ON collections_meta
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change();

-- Kept by triggers on the collections' tables, so that a total needs no scan. A total is the sum of a collection's
-- slots: those who write at once count in slots of their own, and none waits for another.
CREATE TABLE collections_counts (
    number BIGINT NOT NULL REFERENCES collections_meta (number) ON DELETE CASCADE,
    slot SMALLINT NOT NULL DEFAULT 0,
    count BIGINT NOT NULL,
    PRIMARY KEY (number, slot)
) WITH (fillfactor = 50);

-- Counts what a statement added or deleted; its argument is the collection's number.
CREATE FUNCTION collections_count() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed BIGINT;
BEGIN
    SELECT count(*) INTO changed FROM collections_changed;
    IF changed > 0 THEN
        INSERT INTO collections_counts AS kept (number, slot, count)
        VALUES (TG_ARGV[0]::bigint, (pg_backend_pid() % 64)::smallint, CASE TG_OP WHEN 'DELETE' THEN -changed ELSE changed END)
        ON CONFLICT (number, slot) DO UPDATE SET count = kept.count + excluded.count;
    END IF;
    RETURN NULL;
END $$;

-- What stands in a field of integers, from its JSON text: null where it is none that fits 64 bits. It never fails, since
-- it fills columns.
CREATE FUNCTION collections_integer(value TEXT) RETURNS BIGINT LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value ~ '^-?[0-9]{1,18}$' THEN
        RETURN value::bigint;
    END IF;
    IF value ~ '^-?[0-9]{19}$' AND value::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
        RETURN value::bigint;
    END IF;
    RETURN NULL;
END $$;

-- What stands in a field of numbers, from its JSON text. A number that is no integer of 64 bits has decimals, if only a
-- zero: so that it is told from an integer, as 1e16 is from 10000000000000000.
CREATE FUNCTION collections_number(value TEXT) RETURNS NUMERIC LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF value ~ '^-?[0-9]{1,18}(\.[0-9]{1,40})?$' THEN
        RETURN value::numeric;
    END IF;
    IF value ~ '^-?[0-9]{19}$' AND value::numeric BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
        RETURN value::numeric;
    END IF;
    IF value ~ '^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?$' AND abs(value::numeric) < 1.7976931348623158e308 THEN
        -- As the nearest float, in its shortest form.
        RETURN value::numeric::float8::text::numeric + 0.0;
    END IF;
    RETURN NULL;
END $$;

-- A value at a path as a number, where it is one: true and false are 1 and 0.
CREATE FUNCTION collections_numeric(value JSONB) RETURNS NUMERIC LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'number' THEN CASE
            WHEN value::numeric > 9223372036854775807 THEN value::numeric::float8::text::numeric
            ELSE value::numeric
        END
        WHEN 'boolean' THEN value::boolean::integer::numeric
    END
$$;

-- The data with null in one of its fields; all else stays, byte for byte.
CREATE FUNCTION collections_nulled(data TEXT, field TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '{' || string_agg(
        to_json(key)::text || ':' || CASE WHEN key = field THEN 'null' ELSE value::text END, ',' ORDER BY ordinality
    ) || '}'
    FROM json_each(data::json) WITH ORDINALITY
$$;

-- The sum of numbers as floats, with what rounding loses kept beside it (Kahan, Babuška and Neumaier): state[1] is the
-- sum, state[2] what it lacks. An integer that no float holds is added in two parts, each of which one does.
CREATE FUNCTION collections_sum_step(state FLOAT8[], value NUMERIC) RETURNS FLOAT8[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    part FLOAT8 := value;
    total FLOAT8;
BEGIN
    IF scale(value) = 0 AND abs(value) >= 4503599627370496 THEN
        part := value - value % 16384;
    END IF;
    LOOP
        total := state[1] + part;
        IF abs(state[1]) > abs(part) THEN
            state[2] := state[2] + ((state[1] - total) + part);
        ELSE
            state[2] := state[2] + ((part - total) + state[1]);
        END IF;
        state[1] := total;
        EXIT WHEN scale(value) > 0 OR abs(value) < 4503599627370496;
        value := value % 16384;
        part := value;
    END LOOP;
    RETURN state;
END $$;

CREATE FUNCTION collections_sum_end(state FLOAT8[]) RETURNS FLOAT8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN abs(state[2]) < 'Infinity'::float8 THEN state[1] + state[2] ELSE state[1] END
$$;

CREATE AGGREGATE collections_sum(NUMERIC) (
    SFUNC = collections_sum_step, STYPE = FLOAT8[], FINALFUNC = collections_sum_end, INITCOND = '{0,0}'
);
