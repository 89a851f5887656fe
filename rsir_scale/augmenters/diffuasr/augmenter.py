"""DiffuASR: a diffusion model writes M items before each short sequence.

Comes in: short sources. Goes out: each of them after M items that the model wrote, given the source; these items carry
no loss, and the row stands in place of its source. The model learns from the users' own training sequences, never from
rows that it wrote, and its item vectors are those of the model that writes the iteration, frozen.

Where this differs from the authors' code, and why:
- The source is training items alone. Theirs conditions on the validation item.
- Items are chosen among those of training sequences. Theirs has the whole catalogue.
- Classifier-free guidance learns with hidden sequences, as its publication has it; theirs trains the guided sum.
- The classifier of the other guidance is learned with the diffusion, on noisy vectors; theirs is trained apart, by files
  that are not published.
- A row is written once: one that was extended in an earlier iteration is left as it is, because its first items would
  else carry loss.

Source: Liu et al., "Diffusion Augmentation for Sequential Recommendation", CIKM 2023.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch

from rsir_scale.augmenters.base import Augmenter
from rsir_scale.augmenters.diffuasr.examples import Examples, long_enough
from rsir_scale.augmenters.diffuasr.learner import DiffusionLearner
from rsir_scale.augmenters.diffuasr.options import DiffuASROptions, map_height
from rsir_scale.augmenters.diffuasr.sampling import ROWS, Sampler, Start
from rsir_scale.augmenters.diffuasr.vectors import NearestItem, mean_vectors, scaled_vectors
from rsir_scale.augmenters.written import Written
from rsir_scale.config.fitting import Section
from rsir_scale.data.sequences import Int32Array, Sequences, offsets_of
from rsir_scale.errors import ConfigError
from rsir_scale.models.repository import load_writing_model
from rsir_scale.randomness import Purpose, normals
from rsir_scale.training.learned import learned_files, load_learned_weights
