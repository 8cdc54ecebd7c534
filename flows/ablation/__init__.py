"""Evidence for or against HEMlets: the paper's ablations on features of a frozen encoder."""
