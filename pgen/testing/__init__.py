"""Checks of a model for authors of plug-ins.

In a test of the plug-in's package, which must be installed::

    from pgen.testing import check_model

    def test_model_conforms():
        check_model("my-model")

On the command line: ``pgen plugin check my-model``.
"""

from pgen.testing.conformance import Check, check_model, run_checks

__all__ = ["Check", "check_model", "run_checks"]
