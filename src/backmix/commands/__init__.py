"""What the commands of the command line do, with what they print; a file a command."""
