"""Who may do what: users, roles, grants.

*Actor*: the user on whose behalf a service acts. *Grant*: a right (`read`, `write`, `admin`) on one dataset or file for one user.
Rights include the lesser ones; the role `admin` holds every right; who creates a dataset gets `admin` on it. There are grants only,
no denials, so their order never matters.
"""
