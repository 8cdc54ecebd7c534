"""Prefect flows and what they call: the retraining loop."""

from hemlets.core.process_setup import prepare_process

# Here, because Prefect's workers enter by importing a flow, and that imports torch.
prepare_process()
