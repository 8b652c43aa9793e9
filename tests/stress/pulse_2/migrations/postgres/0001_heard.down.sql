DROP TABLE pulse_heard;
