"""Plug-ins that come with every agent; each directory is in the form that `plugin push` sends."""
