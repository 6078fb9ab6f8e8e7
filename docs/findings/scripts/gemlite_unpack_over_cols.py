import importlib.util, sys, types
import torch

root = types.ModuleType("gemlite")  # without its __init__, which needs a GPU
root.__path__ = importlib.util.find_spec("gemlite").submodule_search_locations
sys.modules["gemlite"] = root
import gemlite.bitpack

packed = torch.zeros(4, 6, dtype=torch.int32)
print("real", list(torch.ops.gemlite.unpack_over_cols_torch(packed, 4, 48).shape))
try:
    print("fake", list(torch.ops.gemlite.unpack_over_cols_torch(packed.to("meta"), 4, 48).shape))
except NameError as error:
    print("fake", error)
