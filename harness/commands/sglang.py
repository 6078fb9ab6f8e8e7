"""``harness sglang``: check releases of SGLang, each in its own processes, and print a table of what breaks where."""

from harness.commands.released import COMBINATIONS, Command
from harness.engines.sglang.released import SGLANG
from harness.matrix.paths import paths_of

# And the code paths of SGLang's layer that none of them takes.
MODELS = (*COMBINATIONS, *paths_of("sglang"))
ABOUT = """\
Check the MoE layer of SGLang releases on a machine without a GPU. The layer (FusedMoE), its top-k, the model's block around it,
the ops of piecewise CUDA graphs and their fakes are SGLang's own code; only the fused kernel is replaced by a stand-in written
in torch. Releases are downloaded from the package index without what they need, and cached. One cached environment, of some
2 GB, serves all of them; the first run builds it. Compiled packages are stubs (docs/explanation/sglang.md names them).

Models whose names begin with sglang- are code paths of SGLang's layer that no published shape takes, such as a layer that is
not traced; docs/explanation/sglang.md lists them.

The table has a row for each group of cases that breaks, by hidden size, padded size, layer parts and kernel. Narrow kernels
write the true width, wide ones the padded width.

examples:
  harness sglang 0.5.23                              one release, one model for each combination of layer parts
  harness sglang 0.5.10 0.5.23 --modes eager,fake    two releases, without Inductor, which is faster
  harness sglang --sglang ~/src/sglang               a checkout or an unpacked source archive
  harness sglang 0.5.23 --models gpt-oss-20b -v      one model, with every finding
  harness sglang 0.5.23 --json verdicts.jsonl        write a JSON record for each verdict (docs/reference/records.md)
  harness check --subject sglang==0.5.23             all models, on one release

exit code: 0 all ok, 1 findings, 2 bad input or a release that could not be judged, 130 Ctrl-C (docs/how-to/sglang-releases.md)"""
COMMAND = Command(SGLANG, MODELS, ABOUT, "0.5.10 0.5.23")
arguments, run = COMMAND.arguments, COMMAND.run
