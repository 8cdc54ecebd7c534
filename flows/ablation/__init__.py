"""The paper's ablations on features of a frozen encoder: evidence for or against HEMlets."""
