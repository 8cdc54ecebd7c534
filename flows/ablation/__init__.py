"""The paper's ablations on the open data: which arms there are, their runs, and the comparison."""
