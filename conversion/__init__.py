"""From a trained network to a simulated one: torch -> NetworkSpec -> Brian2, and the proof that both agree.

`spec` is the waist: everything before it knows torch, everything after it knows Brian2, it knows neither. This module
imports nothing heavy, so that a machine without torch can simulate a spec.
"""
