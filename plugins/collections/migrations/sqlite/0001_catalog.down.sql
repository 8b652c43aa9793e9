DROP TABLE collections_counts;
DROP TABLE collections_meta;
