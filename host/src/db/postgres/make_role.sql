DO $make$
DECLARE
    role_name CONSTANT TEXT := '$prefix$$name$';
    own CONSTANT TEXT := '$name$_';
    is_super CONSTANT BOOLEAN := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
    one RECORD;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXECUTE format('COMMENT ON ROLE %I IS %L', role_name,
            format('TinyBase: the extension $name$ in the database %s', current_database()));
    END IF;
    -- The host acts for it, and reads what it owns.
    IF NOT is_super THEN
        IF current_setting('server_version_num')::integer >= 160000 THEN
            EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT TRUE, SET TRUE', role_name);
        ELSIF NOT pg_has_role(current_user, role_name, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
    END IF;
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', current_schema(), role_name);
    IF to_regclass('tb_users') IS NOT NULL THEN
        EXECUTE format('GRANT SELECT (id), REFERENCES (id) ON tb_users TO %I', role_name);
    END IF;
    -- It counts a change of the host's, whoever's table was changed.
    IF EXISTS (SELECT FROM pg_proc WHERE proname = 'tb_note_change' AND NOT prosecdef
        AND pronamespace = current_schema()::regnamespace) THEN
        EXECUTE format('ALTER FUNCTION tb_note_change() SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
    END IF;
    -- What was made before extensions had roles, or in a database that was copied. Sequences of a column follow its table.
    FOR one IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
            AND starts_with(c.relname, own) AND pg_get_userbyid(c.relowner) <> role_name
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
                AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', one.name, role_name);
    END LOOP;
    FOR one IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND starts_with(p.proname, own)
            AND pg_get_userbyid(p.proowner) <> role_name
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO %I', one.name, role_name);
    END LOOP;
END
$make$
