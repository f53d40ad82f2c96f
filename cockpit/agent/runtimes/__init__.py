"""Programs that others run: what to say to systemd, supervisord and pid files, and how to read their answers.

No I/O: commands are argv lists, parsers take what they printed.
"""
