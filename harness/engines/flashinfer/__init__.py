"""FlashInfer: every op that it declares, captured without a GPU and audited against its fake."""
