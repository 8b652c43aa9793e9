DROP TABLE pulse_more;
