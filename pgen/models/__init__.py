"""The built-in models.

Each is a plug-in like any third party's: options in config.py, mathematics in model.py. Imports no
torch.
"""

from typing import Literal

#: Names of the optimisers that :func:`pgen.models.nn.make_optimizer` knows.
Optimizer = Literal["adam", "adamw", "rmsprop", "sgd"]
