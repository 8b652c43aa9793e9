-- The highest number that a collection was ever given. None is given twice: whoever has not heard yet that a collection
-- ended must not meet the table of another.

CREATE TABLE collections_numbers (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    highest BIGINT NOT NULL
);

INSERT INTO collections_numbers (id, highest) SELECT 1, coalesce(max(number), 0) FROM collections_meta;
