"""``harness vllm``: check releases of vLLM, each in its own processes, and print a table of what breaks where."""

from harness.commands.released import COMBINATIONS, Command
from harness.engines.vllm.released import VLLM
from harness.matrix.paths import paths_of

# And the code paths of vLLM's layer that none of them takes.
MODELS = (*COMBINATIONS, *paths_of("vllm"))
ABOUT = """\
Check the MoE layer of vLLM releases on a machine without a GPU. The layer, its runner and its custom op are vLLM's own code;
only the fused kernel is replaced by a stand-in written in torch. Releases are downloaded as sources from the package index,
and cached. One cached environment, of some 2 GB, serves all of them; the first run builds it.

Models whose names begin with vllm- are code paths of vLLM's layer that no published shape takes, such as the modular kernel or
the runner's own gate; docs/explanation/vllm.md lists them.

The table has a row for each group of cases that breaks, by hidden size, padded size, layer parts and kernel. Narrow kernels
write the true width, wide ones the padded width. `latent` marks what a narrow kernel would break in a release that has none.

examples:
  harness vllm 0.20.1 0.20.2                       two releases, one model for each combination of layer parts
  harness vllm --vllm ~/src/vllm                   a checkout or an unpacked source archive
  harness vllm 0.20.1 --models gpt-oss-20b -v      one model, with every finding
  harness vllm 0.33.0 --modes eager,fake           without Inductor, which is faster
  harness vllm 0.33.0 --json verdicts.jsonl        write a JSON record for each verdict (docs/reference/records.md)
  harness check --subject vllm                     all models, on the installed vLLM

exit code: 0 all ok, 1 findings, 2 bad input or a release that could not be judged, 130 Ctrl-C (docs/how-to/vllm-releases.md)"""
COMMAND = Command(VLLM, MODELS, ABOUT, "0.20.1 0.20.2")
arguments, run = COMMAND.arguments, COMMAND.run
