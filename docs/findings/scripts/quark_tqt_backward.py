import torch
import quark.torch.kernel

op = torch.ops.quark_hw_emulation.tqt_backward.default
grad = torch.ones(4)
out, _ = op(torch.randn(4), torch.tensor(0.1), torch.tensor(127), torch.tensor(-128), torch.tensor([0.0]), grad)
print("schema", "output 0 is grad_output:", str(op._schema.returns[0].alias_info is not None))
print("real", "output 0 is grad_output:", str(out.data_ptr() == grad.data_ptr()))
