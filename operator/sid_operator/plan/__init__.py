"""Decides what is to be done about a resource: pure functions, a policy a file.

:func:`sid_operator.plan.decide.plan` is the whole of it: from a resource, what is seen of its
children, and the time, to changes of children, a status, events, and when to look again. It is
level-based: whatever happened before, and however often it is called, it heads for the same end,
and says nothing when there is nothing to do.
"""
