"""Labels by people: tasks, the log of answers, agreement, the study of quality, what comes next.

The web page over it is the package ``annotate``.
"""
