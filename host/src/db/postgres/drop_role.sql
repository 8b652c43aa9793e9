DO $drop$
DECLARE
    role_name CONSTANT TEXT := '$prefix$$name$';
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
        EXECUTE format('DROP OWNED BY %I CASCADE', role_name);
        EXECUTE format('DROP ROLE %I', role_name);
    END IF;
END
$drop$
