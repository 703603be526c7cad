"""Build and extend dictionaries of unique local environments, by tasks."""
