"""The properties that an audit looks at. Each module has functions from an ``AuditedOp`` op to a ``CheckResult``."""
