"""The command line: one file a command, each thin. No torch is imported before a command runs."""
