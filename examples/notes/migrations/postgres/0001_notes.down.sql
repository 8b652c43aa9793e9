DROP TABLE notes_notes;
