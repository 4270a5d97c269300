"""Settings for all property tests."""

from hypothesis import settings

# Other programs may slow this one down at any moment; each test has its own time-out.
settings.register_profile("socs", deadline=None, print_blob=True)
settings.load_profile("socs")
