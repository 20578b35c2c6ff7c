"""The commands, a file each: a parser and a main function, no logic."""
