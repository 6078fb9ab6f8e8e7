"""The properties that an audit checks. Each module has functions from an ``AuditedOp`` to a ``CheckResult``."""
