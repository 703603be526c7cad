from .estimators import NeighborsClassifier as NeighborsClassifier
from .estimators import NeighborsRegressor as NeighborsRegressor
from .search import NeighborIndex as NeighborIndex
from .search import nearest_rows as nearest_rows
from .search import neighbor_index as neighbor_index
from .tasks import Neighbors as Neighbors
from .tasks import nearest_rows_tasks as nearest_rows_tasks
