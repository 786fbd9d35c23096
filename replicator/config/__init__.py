"""The configuration file: its shape, its values, its checks.

`load.load_config` is the way in; `model` has the values. What they lead to is decided elsewhere (`bootstrap`).
"""
