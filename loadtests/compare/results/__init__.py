"""What was measured: runs, which of them count, when two figures differ, and the file that all of it is kept in."""
