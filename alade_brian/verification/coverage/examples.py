"""How the classes of other packages are made for their table: with the defaults, and with a few other arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from alade_brian.verification.coverage.network import STEPS, Example

Examples = Mapping[str, tuple[Example, ...]]
Maker = Callable[[], Examples]


def snntorch_examples() -> Examples:
    """By class of snnTorch."""
    import snntorch as snn

    def loop(kind: Callable[..., nn.Module], *arguments: Any, **keywords: Any) -> Example:
        """It keeps its state, and returns its spikes alone."""
        return Example(partial(kind, *arguments, init_hidden=True, **keywords), _said(arguments, keywords))

    resets = [{"reset_mechanism": rule} for rule in ("subtract", "zero", "none")]
    return {
        "Leaky": (*(loop(snn.Leaky, 0.9, **rule) for rule in resets), loop(snn.Leaky, 0.9, reset_delay=False)),
        "RLeaky": tuple(loop(snn.RLeaky, 0.9, linear_features=5, **rule) for rule in resets),
        "Synaptic": tuple(loop(snn.Synaptic, 0.8, 0.7, **rule) for rule in resets),
        "RSynaptic": tuple(loop(snn.RSynaptic, 0.8, 0.7, linear_features=5, **rule) for rule in resets),
        "Alpha": tuple(loop(snn.Alpha, 0.9, 0.7, threshold=0.3, **rule) for rule in resets),
        "Lapicque": tuple(loop(snn.Lapicque, 0.6, **rule) for rule in resets),
        "DeltaLeaky": (loop(snn.DeltaLeaky, 0.3, beta=0.9), loop(snn.DeltaLeaky, 0.5, beta=1.0)),
        "StateLeaky": (_steps(snn.StateLeaky, 0.9, 5), _steps(snn.StateLeaky, 0.5, 5, graded_spikes_factor=0.7)),
        "LinearLeaky": (_steps(snn.LinearLeaky, 0.9, 5, 5), _steps(snn.LinearLeaky, 0.5, 5, 5, bias=False)),
        "LeakyParallel": (
            _steps(snn.LeakyParallel, 5, 5, beta=0.7),
            _steps(snn.LeakyParallel, 5, 5),
            _steps(snn.LeakyParallel, 5, 5, bias=False, threshold=0.4),
        ),
        "GradedSpikes": (
            Example(lambda: nn.Sequential(snn.Leaky(0.9, init_hidden=True), snn.GradedSpikes(1, 1.5)), "1, 1.5"),
        ),
    }


def spikingjelly_examples() -> Examples:
    """By class of SpikingJelly."""
    return {**_core_nodes(), **_research_nodes()}


def _core_nodes() -> Examples:
    from spikingjelly.activation_based import neuron

    return {
        "IFNode": (*_both(neuron.IFNode), *_both(neuron.IFNode, v_reset=None)),
        "SimpleIFNode": (*_both(neuron.SimpleIFNode), *_both(neuron.SimpleIFNode, v_reset=None)),
        "HalfThresholdIFNode": _both(neuron.HalfThresholdIFNode),
        "ActivationAwareIFNode": (
            *_both(neuron.ActivationAwareIFNode),
            *_both(neuron.ActivationAwareIFNode, v_offset=0.3, v_reset=0.1),
        ),
        "NonSpikingIFNode": tuple(_decoded(neuron.NonSpikingIFNode, decode=how) for how in ("mean-mem", "max-mem")),
        "LIFNode": (*_both(neuron.LIFNode), *_both(neuron.LIFNode, v_reset=None, decay_input=False, v_threshold=0.5)),
        "SimpleLIFNode": (
            *_both(neuron.SimpleLIFNode, tau=2.0, decay_input=True),
            *_both(neuron.SimpleLIFNode, tau=2.0, decay_input=False, v_reset=0.1),
        ),
        "NonSpikingLIFNode": tuple(
            _decoded(neuron.NonSpikingLIFNode, decode=how) for how in ("mean-mem", "max-mem", "last_mem")
        ),
        "ParametricLIFNode": (*_both(neuron.ParametricLIFNode), *_both(neuron.ParametricLIFNode, v_reset=None)),
        "QIFNode": (*_both(neuron.QIFNode), *_both(neuron.QIFNode, tau=3.0, a0=0.5, v_reset=None)),
        "EIFNode": (*_both(neuron.EIFNode), *_both(neuron.EIFNode, tau=4.0, delta_T=0.5, v_reset=None)),
        "IzhikevichNode": (*_both(neuron.IzhikevichNode), *_both(neuron.IzhikevichNode, a=0.3, b=0.4, w_rest=0.2)),
        "RAFNode": (*_both(neuron.RAFNode), *_both(neuron.RAFNode, omega=2.0, dt=0.5, v_reset=None)),
        "SlidingPSN": (*_both(neuron.SlidingPSN, k=3), *_both(neuron.SlidingPSN, k=2, exp_init=False)),
    }


def _research_nodes() -> Examples:
    from spikingjelly.activation_based import neuron

    quiet = {"T": STEPS, "is_training": False}
    return {
        "SLTTLIFNode": (_loop(neuron.SLTTLIFNode), _loop(neuron.SLTTLIFNode, v_reset=None)),
        "OTTTLIFNode": (_loop(neuron.OTTTLIFNode), _loop(neuron.OTTTLIFNode, decay_input=True, v_reset=0.0)),
        "KLIFNode": (
            *_both(neuron.KLIFNode),
            Example(partial(_with_gain, neuron.KLIFNode, 1.3), "k=1.3"),
            *_both(neuron.KLIFNode, scale_reset=True, v_reset=None),
            *_both(neuron.KLIFNode, scale_reset=True, decay_input=False, v_reset=0.1),
            Example(partial(_with_gain, neuron.KLIFNode, 0.7, scale_reset=True), "scale_reset=True, k=0.7"),
        ),
        "ComplementaryLIFNode": _both(neuron.ComplementaryLIFNode),
        "CUBALIFNode": (_loop(neuron.CUBALIFNode), _loop(neuron.CUBALIFNode, v_reset=None)),
        "GatedLIFNode": (
            Example(partial(neuron.GatedLIFNode, STEPS), f"{STEPS}", "steps", image=True),
            Example(partial(neuron.GatedLIFNode, STEPS, inplane=5), f"{STEPS}, inplane=5", "steps", image=True),
        ),
        "MPBNLIFNode": (
            *_both(neuron.MPBNLIFNode, out_features=5),
            *_both(neuron.MPBNLIFNode, out_features=5, learnable_vth=True, v_reset=None),
            *_both(neuron.MPBNLIFNode, out_features=5, mpbn=False, decay_input=True),
        ),
        "DSRIFNode": (_steps(neuron.DSRIFNode), _steps(neuron.DSRIFNode, v_threshold=1.0, v_threshold_training=False)),
        "DSRLIFNode": (_steps(neuron.DSRLIFNode), _steps(neuron.DSRLIFNode, v_threshold=0.15, tau=0.3)),
        "ILCIFNode": (_steps(neuron.ILCIFNode, 2, 3, size=6),),
        "ILCLIFNode": (_steps(neuron.ILCLIFNode, 2, 3, size=6),),
        "ILCCUBALIFNode": (_steps(neuron.ILCCUBALIFNode, 2, 3, size=6),),
        "NoisyCUBALIFNode": (_steps(neuron.NoisyCUBALIFNode, 5, **quiet),),
        "NoisyILCCUBALIFNode": (_steps(neuron.NoisyILCCUBALIFNode, 2, 3, size=6, **quiet),),
        "NoisyNonSpikingIFNode": (_decoded(neuron.NoisyNonSpikingIFNode, 3, decode="mean-mem", **quiet),),
        # Refused.
        "MPBNBaseNode": (_loop(neuron.MPBNBaseNode, out_features=5),),
        "PSN": (_steps(neuron.PSN, STEPS),),
        "MaskedPSN": (_steps(neuron.MaskedPSN, 2, STEPS),),
        "FlexSN": (_steps(neuron.FlexSN, lambda x, v: (v + x, v + x), 1),),
        "LIAFNode": (_loop(neuron.LIAFNode, act=nn.ReLU(), threshold_related=False),),
        "STBIFNode": (_loop(neuron.STBIFNode, q_threshold=1.0, level=4),),
    }


def _loop(kind: Callable[..., nn.Module], **keywords: Any) -> Example:
    """Called for every step."""
    return Example(partial(kind, **keywords), _said((), keywords))


def _both(kind: Callable[..., nn.Module], **keywords: Any) -> tuple[Example, Example]:
    """Once called for every step, once for all of them."""
    alone, whole = partial(kind, **keywords), partial(kind, **keywords, step_mode="m")
    said = _said((), keywords)
    return Example(alone, said), Example(whole, _said((), {**keywords, "step_mode": "m"}), "steps")


def _steps(kind: Callable[..., nn.Module], *arguments: Any, size: int = 5, **keywords: Any) -> Example:
    """Called for all steps at once, with `size` neurons."""
    said = _said(arguments, keywords)
    return Example(partial(kind, *arguments, **keywords), said, "steps", inputs=size, outputs=size)


def _decoded(kind: Callable[..., nn.Module], *arguments: Any, **keywords: Any) -> Example:
    """Called for all steps at once, whose answer is the network's."""
    said = _said(arguments, keywords)
    return Example(partial(kind, *arguments, **keywords), said, "steps", inputs=3, outputs=3, decoded=True)


def norse_examples() -> Examples:
    """By class of Norse."""
    import norse.torch as norse
    import torch

    def cell(
        kind: Callable[..., nn.Module], *arguments: Any, gain: float = 5.0, said: str = "", **more: Any
    ) -> Example:
        return Example(partial(kind, *arguments, **more), said or _said((), more), "state", gain=gain)

    def with_p(kind: Callable[..., nn.Module], make: Callable[..., Any], *sizes: int, **values: Any) -> Example:
        """With parameters of its own."""
        p = make(**{name: torch.as_tensor(value) for name, value in values.items()})
        return cell(kind, *sizes, p=p, said=_said((), values))

    fast = {"tau_mem_inv": 300.0, "v_th": 0.5, "v_leak": 0.1, "v_reset": -0.1}
    leaking = {"tau_mem_inv": 300.0, "v_leak": 0.1}
    lif, adex = norse.LIFParameters, norse.LIFAdExParameters
    refractory = norse.LIFRefracParameters(rho_reset=torch.tensor(2.0))
    refractory_adex = norse.LIFAdExRefracParameters(rho_reset=torch.tensor(2.0))
    bursts = {"spiking_method": norse.tonic_bursting, "gain": 40.0, "said": "tonic_bursting"}
    phasic = {"spiking_method": norse.phasic_bursting, "gain": 40.0, "said": "phasic_bursting"}

    return {
        "LIFCell": (cell(norse.LIFCell), with_p(norse.LIFCell, lif, **fast)),
        "LIFRecurrentCell": (cell(norse.LIFRecurrentCell, 5, 5), with_p(norse.LIFRecurrentCell, lif, 5, 5, **fast)),
        "LIFBoxCell": (cell(norse.LIFBoxCell), with_p(norse.LIFBoxCell, norse.LIFBoxParameters, **fast)),
        "IAFCell": (cell(norse.IAFCell), with_p(norse.IAFCell, norse.IAFParameters, v_th=0.5, v_reset=-0.1)),
        "LIFExCell": (cell(norse.LIFExCell), with_p(norse.LIFExCell, norse.LIFExParameters, delta_T=0.3, **fast)),
        "LIFExRecurrentCell": (cell(norse.LIFExRecurrentCell, 5, 5),),
        "LIFAdExCell": (
            cell(norse.LIFAdExCell),
            with_p(norse.LIFAdExCell, adex, adaptation_spike=0.5, tau_ada_inv=100.0, **fast),
        ),
        "LIFAdExRecurrentCell": (cell(norse.LIFAdExRecurrentCell, 5, 5),),
        "LIFRefracCell": (cell(norse.LIFRefracCell), cell(norse.LIFRefracCell, p=refractory, said="rho_reset=2.0")),
        "LIFRefracRecurrentCell": (cell(norse.LIFRefracRecurrentCell, 5, 5, p=refractory, said="rho_reset=2.0"),),
        "LIFAdExRefracCell": (cell(norse.LIFAdExRefracCell, p=refractory_adex, said="rho_reset=2.0"),),
        "LIFAdExRefracRecurrentCell": (
            cell(norse.LIFAdExRefracRecurrentCell, 5, 5, p=refractory_adex, said="rho_reset=2.0"),
        ),
        "LSNNCell": (
            cell(norse.LSNNCell),
            with_p(norse.LSNNCell, norse.LSNNParameters, beta=0.3, tau_adapt_inv=50.0, **fast),
        ),
        "LSNNRecurrentCell": (cell(norse.LSNNRecurrentCell, 5, 5),),
        "IzhikevichCell": (cell(norse.IzhikevichCell, **bursts), cell(norse.IzhikevichCell, **phasic)),
        "IzhikevichRecurrentCell": (cell(norse.IzhikevichRecurrentCell, 5, 5, **bursts),),
        "LICell": (cell(norse.LICell), with_p(norse.LICell, norse.LIParameters, **leaking)),
        "LILinearCell": (cell(norse.LILinearCell, 5, 5),),
        "LIBoxCell": (cell(norse.LIBoxCell), with_p(norse.LIBoxCell, norse.LIBoxParameters, **leaking)),
        "SequentialState": (cell(norse.SequentialState, norse.LIFCell(), said="LIFCell()"),),
        **_norse_over_time(),
    }


def _norse_over_time() -> Examples:
    """Classes of Norse that run over all steps in one call."""
    import norse.torch as norse

    plain = "LIF", "LI", "IAF", "LIFEx", "LIFAdEx", "LSNN"
    recurrent = "LIF", "LIFEx", "LIFAdEx", "LIFRefrac", "LIFAdExRefrac", "LSNN"
    kinds = {name: getattr(norse, name) for name in plain}
    kinds |= {f"{name}Recurrent": partial(getattr(norse, f"{name}Recurrent"), 5, 5) for name in recurrent}
    bursting = {
        "Izhikevich": partial(norse.Izhikevich, norse.tonic_bursting),
        "IzhikevichRecurrent": partial(norse.IzhikevichRecurrent, 5, 5, norse.tonic_bursting),
    }
    return {
        **{name: (Example(build, form="steps", gain=5.0),) for name, build in kinds.items()},
        **{name: (Example(build, "tonic_bursting", "steps", gain=40.0),) for name, build in bursting.items()},
        # Behind it neurons, without which there is nothing to simulate.
        "Lift": (
            Example(
                lambda: nn.Sequential(norse.Lift(nn.Linear(5, 5)), norse.LIF()), "nn.Linear(5, 5)", "steps", gain=5.0
            ),
        ),
    }


def _with_gain(kind: Callable[..., Any], k: float, **keywords: Any) -> nn.Module:
    """A node whose learned gain is not that of the beginning."""
    made = kind(**keywords)
    made.k.data.fill_(k)
    return made


def _said(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> str:
    """Arguments as in a call."""
    return ", ".join([*map(repr, arguments), *(f"{key}={value!r}" for key, value in keywords.items())])
