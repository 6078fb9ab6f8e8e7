"""FlashInfer's custom ops: it declares them with fakes and registers few; here they are captured, and audited."""
