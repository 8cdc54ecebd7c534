"""Great Expectations suites over the annotation table: see `data_checks.validate.validate`."""
