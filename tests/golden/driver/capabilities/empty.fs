# Nothing can be read.
