"""What is read off finished numbers: relaxation, creep, groups, profiles. Pure functions, no files and no tasks."""
