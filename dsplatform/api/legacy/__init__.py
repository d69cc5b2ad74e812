"""The adapter: answers under the legacy system's paths as its server did, from our services and under our permissions.

It translates and decides nothing. Where the old server failed by accident, or gave what our permissions do not give, `docs/legacy-api.md`
says what is answered instead.
"""
