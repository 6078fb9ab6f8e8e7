"""Engines: adapters that let the harness judge what somebody else ships. Each imports its engine when it is asked to."""
