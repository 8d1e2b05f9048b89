"""The commands: arguments and options. What a command needs is imported when it is called."""
