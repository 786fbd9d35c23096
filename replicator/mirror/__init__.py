"""Mirrors: a plain directory that is kept equal at destinations.

`scan` and `watcher` know the source; `plan`, `coalesce`, `deletes` and `excludes` decide, and are pure; `apply`,
`compare`, `remove` and `session` change a destination. Threads, logs and configuration are the service's affair.
"""
