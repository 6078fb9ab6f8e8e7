"""A torch.compile compatibility test harness for padded mixture-of-experts kernels.

The street, one arrow one call: Case -> Subject.build -> layer -> Mode.run -> evidence -> observers -> Finding -> Verdict.
"""
