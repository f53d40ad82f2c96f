"""The built-in command words, by subject; each module is an entry of the registry like a plug-in."""
