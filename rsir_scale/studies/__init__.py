"""Studies: arms x seeds x datasets, paired, against controls, each cell an ordinary run directory."""
