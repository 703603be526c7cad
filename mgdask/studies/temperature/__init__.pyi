from .data import Instances as Instances
from .data import Run as Run
from .data import read_instances as read_instances
from .options import TemperatureOptions as TemperatureOptions
from .temperature_study import TemperatureStudy as TemperatureStudy
