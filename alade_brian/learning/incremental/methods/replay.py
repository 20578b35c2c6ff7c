"""Replay: one network goes on learning, and exemplars of old classes are shown again among the new images.

Robins, Connection Science 1995 (rehearsal); Chaudhry et al. 2019 (arXiv 1902.10486).
"""

from __future__ import annotations

from alade_brian.learning.incremental.methods.finetune import Finetune


class Replay(Finetune):
    """`finetune` with a memory: plain cross-entropy over all classes seen. An epoch shows every new image and every
    exemplar once, so that old classes stay in the minority (the sources draw half of every batch from the memory), and
    exemplars are herded, not drawn at random."""

    name = "replay"
    rehearses = True
