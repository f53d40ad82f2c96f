"""Keeper and agent put on a host by SSH: what is found there, what follows from it, and how it is done."""
