"""Files of text, delimited or of JSON: a stream is cut into records, and Arrow makes columns of these; bad ones are told apart."""
