"""Why something is not as it should be: a pure engine over the rows that screens and controller share."""
