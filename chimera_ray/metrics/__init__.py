"""Pure functions of text and numbers; they know no rows, no models and no files."""
