"""Brian2 code objects whose templates are this package's."""

from __future__ import annotations

from brian2.devices.cpp_standalone.codeobject import CPPStandaloneCodeObject


class SharedCode(CPPStandaloneCodeObject):
    """Brian2's C++ with the templates of this package beside its own."""

    templater = CPPStandaloneCodeObject.templater.derive("alade_brian.simulation")
