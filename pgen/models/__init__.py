"""The built-in models. Each is a plug-in like any third party's: options in config.py, mathematics in model.py."""
