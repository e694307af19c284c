"""For the authors of plug-ins: does a model keep to what pgen asks of it?

In a test of the plug-in's package, which must be installed::

    from pgen.testing import check_model

    def test_model_conforms():
        check_model("my-model")

The same from the command line: ``pgen plugin check my-model``.
"""

from pgen.testing.conformance import Check, check_model, conformance

__all__ = ["Check", "check_model", "conformance"]
