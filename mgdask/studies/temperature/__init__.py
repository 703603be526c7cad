"""Machine-learned temperature: Liu X. et al., J. Mater. Inf. 2, 20 (2022)."""
