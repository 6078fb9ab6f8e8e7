"""Importing this module captures the importable engine of its name and registers its ops."""

from harness.engines.declared.engines.sglang import ENGINE
from harness.engines.declared.running.registered import register

register(ENGINE)
