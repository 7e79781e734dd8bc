"""A deployed host on which the tests run the plays: its fixtures are molecule/hosts.py's."""

pytest_plugins = ("hosts",)
