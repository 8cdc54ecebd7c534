"""What every other package stands on: skeleton, settings, errors, files, processes."""
