"""Tests of cockpit.act."""
