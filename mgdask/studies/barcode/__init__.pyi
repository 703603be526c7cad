from .baselines import LinearEnergy as LinearEnergy
from .baselines import MeanEnergy as MeanEnergy
from .baselines import fit_baselines as fit_baselines
from .data import Samples as Samples
from .options import BarcodeOptions as BarcodeOptions
