from .optimize import Search as Search
from .optimize import search as search
from .space import SPACE as SPACE
