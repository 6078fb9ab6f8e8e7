"""FlashInfer's custom ops: it declares them with fakes and registers none; here they are captured, and audited."""
