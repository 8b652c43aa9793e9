DROP TABLE pulse_third;
