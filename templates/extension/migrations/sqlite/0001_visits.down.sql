DROP TABLE {{name}}_visits;
