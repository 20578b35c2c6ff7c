"""From predictions and spikes to numbers, figures and the report; needs neither torch nor brian2."""
