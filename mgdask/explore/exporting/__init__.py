"""Export to other programs: extended XYZ, LAMMPS dumps and data files, and tables."""
