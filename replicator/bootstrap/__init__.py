"""From a configuration to running parts: the only place that names concrete destinations.

What only some configurations need is loaded for those alone: a pass of mirrors does not wait for what reads
databases, nor one to a folder for SSH.
"""
