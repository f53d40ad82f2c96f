"""Makes what runs on hosts from what is installed here: a zipapp, or the parts of the one-file agent."""
