"""The command line: a module a command, a module a part of the terminal. What a command needs is imported when it runs."""
