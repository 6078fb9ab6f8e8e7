"""Account: who makes which width in one case, stage by stage, as data and as pictures.

Belongs here: an account of a case from its runs, its text for a terminal, its SVG. The drawings import no torch.
May import: base to verdict.
"""
