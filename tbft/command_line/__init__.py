"""The command line: its options and files, its help and error messages, and the commands that adapt or measure."""
