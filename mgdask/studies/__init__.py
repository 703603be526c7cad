"""The published pipelines, each a short story made of calls to the rooms before."""
