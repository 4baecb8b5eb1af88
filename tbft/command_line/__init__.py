"""The command line: what is read, what is said, and how a command becomes an adaptation."""
