"""Local servers, and the checks of ``hemlets doctor``."""
