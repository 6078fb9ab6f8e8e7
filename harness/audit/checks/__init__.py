"""The properties that an audit looks at. Each module has functions from an ``Audited`` op to a ``Seen``."""
