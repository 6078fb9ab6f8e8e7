"""The layer on FlashInfer's Python around torch stand-ins, as subjects: ``--subject cases.flashinfer_on_cpu:trtllm``."""

from cases.flashinfer_standin import SUBJECTS, install

install()
trtllm, cutlass, cutile = (SUBJECTS[name]() for name in ("trtllm", "cutlass", "cutile"))
