DROP TABLE collections_numbers;
