"""Labels by people: tasks, the answer log, agreement, the quality study, the queue.

The web page over it is the package ``annotate``.
"""
