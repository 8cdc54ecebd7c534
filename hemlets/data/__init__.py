"""Data: the annotation table, dataset readers, data versions, synthetic people, crops."""
