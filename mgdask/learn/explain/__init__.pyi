from .importance import Dependence as Dependence
from .importance import Permutation as Permutation
from .importance import partial_dependence as partial_dependence
from .importance import permutation_importance as permutation_importance
from .shap_tasks import shap as shap
from .shap_values import Shap as Shap
