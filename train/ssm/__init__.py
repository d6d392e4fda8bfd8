"""S4D, the diagonal state-space layer that feeds the spiking neurons."""

from train.ssm.discretisation import RULES, Discrete, discretise
from train.ssm.initialisation import INITIALISATIONS
from train.ssm.layer import S4D

__all__ = ["INITIALISATIONS", "RULES", "S4D", "Discrete", "discretise"]
