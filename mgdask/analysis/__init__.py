"""What is read off finished numbers: relaxation, creep, groups of atoms, profiles. Pure functions, no files and no tasks."""
