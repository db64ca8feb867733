"""The experiments: a module each, with `Settings` and `run(settings, page)`, which fills the page."""
