"""The annotation tool: a web page over `hemlets.annotation`, and the command that serves it."""
