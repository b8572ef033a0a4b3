"""The project's own tests stand on the plugin that it ships."""

pytest_plugins = ["greensock.testing", "program", "foreign"]
