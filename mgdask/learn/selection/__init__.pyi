from .elimination import Elimination as Elimination
from .elimination import Uncorrelated as Uncorrelated
from .elimination import correlation as correlation
from .elimination import drop_correlated as drop_correlated
from .elimination import held_out_score as held_out_score
from .elimination import recursive_elimination as recursive_elimination
from .forward import forward_selection as forward_selection
from .relief import relieff as relieff
