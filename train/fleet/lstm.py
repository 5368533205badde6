"""LSTM layers of a fleet (Hochreiter and Schmidhuber 1997), all members at once."""

import torch
from torch import Tensor


def lstm(x: Tensor, inward: Tensor, onward: Tensor) -> Tensor:
    """States after each step, from zero: x [members, rows, steps, d] to the same shape.

    inward, onward: [members, d, 4 d], what reads the input and the state before, for input, forget, cell and output
    gates. Without biases, but for the 1 that keeps the forget gate open at first (Jozefowicz et al. 2015).
    """
    members, rows, steps, d = x.shape
    read = torch.bmm(x.flatten(1, 2), inward).view(members, rows, steps, 4 * d)
    bias = torch.zeros(4 * d)
    bias[d : 2 * d] = 1.0
    state = cell = x.new_zeros(members, rows, d)
    states = []
    for step in (read + bias).unbind(dim=2):
        gates = torch.baddbmm(step, state, onward)                      # [members, rows, 4 d]
        open_in, keep, new, open_out = gates.chunk(4, dim=-1)
        cell = keep.sigmoid() * cell + open_in.sigmoid() * new.tanh()
        state = open_out.sigmoid() * cell.tanh()
        states.append(state)
    return torch.stack(states, dim=2)
