"""Text and HTML that describe stores and results."""
