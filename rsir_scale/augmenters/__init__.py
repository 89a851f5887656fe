"""Ways of writing sequences, behind one contract; how they are written safely is the business of `generation`."""
