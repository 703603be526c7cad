"""Generic pictures of stores and scores, drawn with matplotlib."""
