"""The other sinks of a stream: they get what a commit has kept for them, one after the other, and none twice where it can be told.

A commit holds offsets, the results of its own sink and, in the same transaction, the rows that the other sinks have not got yet. Whatever
dies afterwards, the next start brings them there; which sinks have not got them is noted beside them, commit by commit.
"""
